//! Somebody who got into Redis and knows its protocol, but not the hub's key.

use std::sync::{Arc, Mutex};

use super::redis::Raw;

/// A frame as it went over the bus, with its channel.
pub type Captured = Vec<(Vec<u8>, Vec<u8>)>;

pub struct Attacker {
    prefix: String,
    publisher: Raw,
    captured: Arc<Mutex<Captured>>,
}

impl Attacker {
    /// Beside the hubs whose channels start so.
    pub async fn beside(port: u16, prefix: &str) -> Self {
        let prefix = prefix.to_owned();
        let mut listener = Raw::open(port).await;
        listener.ask(&[b"PSUBSCRIBE", format!("{prefix}*").as_bytes()]).await;
        let captured = Arc::new(Mutex::new(Vec::new()));
        let its = Arc::clone(&captured);
        tokio::spawn(async move {
            while let Some(heard) = listener.heard().await {
                its.lock().unwrap().push((heard.at(2).to_vec(), heard.at(3).to_vec()));
            }
        });
        Self { prefix, publisher: Raw::open(port).await, captured }
    }

    /// All that went over the bus so far.
    pub fn captured(&self) -> Captured {
        self.captured.lock().unwrap().clone()
    }

    pub fn channel(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.prefix).into_bytes()
    }

    /// Publishes all of it as fast as Redis takes it.
    pub async fn publish(&mut self, frames: &[(Vec<u8>, Vec<u8>)]) {
        for some in frames.chunks(200) {
            for (channel, payload) in some {
                self.publisher.give(&[b"PUBLISH", channel, payload]).await;
            }
            for _ in some {
                self.publisher.next().await;
            }
        }
    }

    /// What nobody sealed, or sealed for another of these channels, on which nodes listen: seven frames a round.
    pub fn forged(&self, channels: [&Vec<u8>; 3], rounds: usize) -> Captured {
        let captured = self.captured();
        let common: Captured =
            captured.into_iter().filter(|(at, payload)| channels.contains(&at) && !payload.is_empty()).collect();
        let [room, _, all] = channels;
        let mut forged = Vec::new();
        for n in 0..if common.is_empty() { 0 } else { rounds } {
            let garbage: Vec<u8> = (0..n % 300).map(|_| rand::random()).collect();
            forged.push((room.clone(), garbage.clone()));
            forged.push((all.clone(), [vec![1], garbage].concat()));
            let (channel, payload) = common[rand::random_range(0..common.len())].clone();
            let mut changed = payload.clone();
            changed[rand::random_range(0..payload.len())] ^= rand::random_range(1..=255_u8);
            forged.push((channel.clone(), changed));
            forged.push((channel.clone(), payload[..rand::random_range(0..payload.len())].to_vec()));
            for elsewhere in channels {
                if *elsewhere != channel {
                    forged.push((elsewhere.clone(), payload.clone()));
                }
            }
        }
        forged
    }
}
