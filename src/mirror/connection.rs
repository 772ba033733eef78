//! One connection to Redis or Valkey, single, Sentinel or Cluster: a client that listens and one that publishes. The only
//! place that names fred. It never reconnects by itself: once something is wrong it is given up for a new one, so that
//! nobody has to know what a client does half-way. Lives on the mirror's thread; its queues are bounded here.

use std::time::Duration;

use fred::{
    bytes::Bytes,
    clients::Client,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    socket2::TcpKeepalive,
    types::{
        Builder, ConnectHandle, Message,
        config::{Config, ServerConfig, TcpConfig},
    },
};
use tokio::{sync::broadcast, time::timeout};

use crate::config::Secret;

/// Messages that came and were not looked at; past it heads are compared instead.
const RECEIVED: usize = 16_384;
/// Commands on their way.
const COMMANDS: usize = 4_096;
/// Channels in one SUBSCRIBE.
const CHANNELS: usize = 500;
/// Redis answers anybody with `LOADING` or `CLUSTERDOWN` at times; the whole try is bounded by this times the timeout.
const STEPS: u32 = 3;

/// Why the bus does not work.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The address is none.
    #[error("redis.url can't be read: {0}")]
    Url(String),
    /// No answer in time.
    #[error("no answer from redis within {0:?}")]
    Timeout(Duration),
    /// Redis, or the connection, said no.
    #[error("redis: {0}")]
    Redis(String),
}

impl From<fred::error::Error> for BusError {
    fn from(error: fred::error::Error) -> Self {
        Self::Redis(error.details().to_owned())
    }
}

/// Both clients and the tasks that drive them.
pub(super) struct Connection {
    listener: Client,
    publisher: Client,
    tasks: Vec<ConnectHandle>,
    timeout: Duration,
}

/// Says what is wrong with an address, without showing it.
pub fn check_url(url: &Secret) -> Result<(), BusError> {
    parse(url).map(drop)
}

fn parse(url: &Secret) -> Result<Config, BusError> {
    if !["redis", "valkey"].iter().any(|scheme| url.reveal().starts_with(scheme)) {
        let must =
            "it must start with redis://, rediss://, redis-cluster:// or redis-sentinel://, or the same with valkey";
        return Err(BusError::Url(must.into()));
    }
    // What comes after a colon may be a piece of the address.
    let why = |error: fred::error::Error| error.details().split(": ").next().unwrap_or_default().to_owned();
    let mut config = Config::from_url(url.reveal()).map_err(|error| BusError::Url(why(error)))?;
    config.fail_fast = true;
    if let ServerConfig::Sentinel { service_name, .. } = &config.server
        && service_name.is_empty()
    {
        return Err(BusError::Url("sentinelServiceName is missing".into()));
    }
    Ok(config)
}

impl Connection {
    /// Connects; each answer may take as long as `timeout`.
    pub(super) async fn open(url: &Secret, timeout: Duration) -> Result<Self, BusError> {
        let client = || {
            let mut builder = Builder::from_config(parse(url)?);
            builder.with_performance_config(|performance| {
                performance.broadcast_channel_capacity = RECEIVED;
                performance.default_command_timeout = timeout;
            });
            builder.with_connection_config(|connection| {
                connection.connection_timeout = timeout;
                connection.internal_command_timeout = timeout;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = COMMANDS;
                connection.tcp = TcpConfig {
                    nodelay: Some(true),
                    keepalive: Some(TcpKeepalive::new().with_time(Duration::from_secs(10))),
                    ..TcpConfig::default()
                };
            });
            Ok::<_, BusError>(builder.build()?)
        };
        let mut connection = Self { listener: client()?, publisher: client()?, tasks: Vec::new(), timeout };
        for client in [connection.listener.clone(), connection.publisher.clone()] {
            // Kept before anything is waited for, so that it ends with this however far it gets.
            connection.tasks.push(client.connect());
            let connected = tokio::time::timeout(timeout * STEPS, client.wait_for_connect()).await;
            connected.map_err(|_| BusError::Timeout(timeout * STEPS))??;
        }
        Ok(connection)
    }

    /// What comes on all channels from now on.
    pub(super) fn messages(&self) -> broadcast::Receiver<Message> {
        self.listener.message_rx()
    }

    /// Subscribes to these channels.
    pub(super) async fn subscribe(&self, channels: &[String]) -> Result<(), BusError> {
        for some in channels.chunks(CHANNELS) {
            self.in_time(self.listener.subscribe(some.to_vec())).await?;
        }
        Ok(())
    }

    /// Leaves these channels.
    pub(super) async fn unsubscribe(&self, channels: &[String]) -> Result<(), BusError> {
        for some in channels.chunks(CHANNELS) {
            self.in_time(self.listener.unsubscribe(some.to_vec())).await?;
        }
        Ok(())
    }

    /// Publishes these, in their order, in one go.
    pub(super) async fn publish(&self, frames: Vec<(String, Vec<u8>)>) -> Result<(), BusError> {
        let pipeline = self.publisher.pipeline();
        for (channel, sealed) in frames {
            let () = pipeline.publish(channel, Bytes::from(sealed)).await?;
        }
        self.in_time(pipeline.all::<Vec<i64>>()).await.map(drop)
    }

    async fn in_time<T>(&self, call: impl Future<Output = Result<T, fred::error::Error>>) -> Result<T, BusError> {
        match timeout(self.timeout, call).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(BusError::Timeout(self.timeout)),
        }
    }

    /// Whether a task that drives a client has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.tasks.iter().any(ConnectHandle::is_finished)
    }
}

impl Drop for Connection {
    /// A goodbye could wait for a Redis that does not answer: the sockets go with the tasks.
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}
