//! What a scenario stands on beside a plain cluster: a slow way to the database, another kind of Redis, clocks that differ,
//! disks that can be harmed. Nodes are started anew with settings for it, and without them when it is lifted.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::{
    cluster::{Cluster, Shape},
    disk::{Image, SmallDisk, run},
    proxy::Proxy,
};
use crate::support::{Redis, redis_cluster, sentinel_with_replica};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    Plain,
    /// All nodes reach their database through a proxy.
    SlowWay,
    /// A master and a replica, and a sentinel that watches over them.
    Sentinel,
    /// Three masters; the first has a replica.
    RedisCluster,
    /// Clocks of the nodes' own: right at first, or 5 minutes early, 5 minutes late, and right.
    Clocks {
        apart: bool,
    },
    /// The limits of frames and commands that a hub has by itself.
    Limits,
    /// Nodes let clients in slowly: `limits.handshakes_per_second` and its burst are 300.
    Doors,
    /// One hub on SQLite.
    Sqlite,
    /// Its database on a disk that can be filled up.
    SmallDisk,
    /// Its database on a disk that can lose its power.
    SqliteImage,
    /// PostgreSQL's data on such a disk.
    PostgresImage,
}

/// What was made for a scenario, for the nemesis to harm.
#[derive(Default)]
pub struct Laid {
    pub proxy: Option<Proxy>,
    pub redis: Mutex<Vec<Redis>>,
    pub small_disk: Option<SmallDisk>,
    pub image: tokio::sync::Mutex<Option<Image>>,
}

impl Ground {
    pub fn shape(self) -> Shape {
        match self {
            Self::Sqlite | Self::SmallDisk | Self::SqliteImage => Shape::Sqlite,
            _ => Shape::Three,
        }
    }

    /// Whether something is mounted for it.
    pub fn mounts(self) -> bool {
        matches!(self, Self::SmallDisk | Self::SqliteImage | Self::PostgresImage)
    }

    /// Whether nothing else may stand on the cluster afterwards.
    pub fn is_alone(self) -> bool {
        self == Self::PostgresImage
    }

    pub async fn lay(self, cluster: &Cluster) -> Laid {
        let mut laid = Laid::default();
        match self {
            Self::Plain | Self::Sqlite => {}
            Self::SlowWay => {
                let proxy = Proxy::before(cluster.setting("POSTGRES_PORT").parse().unwrap()).await;
                let url = format!("HUBBUB__DATABASE__URL=postgres://hubbub@{}/hubbub", proxy.address);
                cluster.restart_with(|_| vec![url.clone()]).await;
                laid.proxy = Some(proxy);
            }
            Self::Sentinel => {
                let (master, others, url) = sentinel_with_replica().await;
                laid.redis = Mutex::new([vec![master], others.into()].into_iter().flatten().collect());
                cluster.restart_with(|_| vec![format!("HUBBUB__REDIS__URL={url}")]).await;
            }
            Self::RedisCluster => {
                let (servers, url) = redis_cluster().await;
                laid.redis = Mutex::new(servers.into());
                cluster.restart_with(|_| vec![format!("HUBBUB__REDIS__URL={url}")]).await;
            }
            Self::Clocks { apart } => {
                let library = faketime();
                for node in 1..=cluster.nodes {
                    set_clock(cluster, node, ["+300", "-300", "+0"][if apart { (node - 1) % 3 } else { 2 }]);
                }
                let settings = |node| {
                    let file = clock_file(cluster, node);
                    vec![
                        format!("LD_PRELOAD={library}"),
                        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
                        "FAKETIME_NO_CACHE=1".to_owned(),
                        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
                    ]
                };
                cluster.restart_with(settings).await;
                for node in 1..=cluster.nodes {
                    let maps =
                        fs::read_to_string(format!("/proc/{}/maps", cluster.pid(&format!("node{node}")))).unwrap();
                    assert!(maps.contains("libfaketime"), "node{node} has this machine's clock");
                }
            }
            Self::Limits => {
                let own = ["FRAMES_PER_SECOND=400", "FRAMES_BURST=600", "COMMANDS_PER_SECOND=20", "COMMANDS_BURST=60"];
                cluster.restart_with(|_| limits(&own)).await;
            }
            Self::Doors => {
                cluster.restart_with(|_| limits(&["HANDSHAKES_PER_SECOND=300", "HANDSHAKES_BURST=300"])).await;
            }
            Self::SmallDisk => {
                let disk = SmallDisk::mount(&cluster.folder().join("disk"));
                sqlite_at(cluster, &disk.folder).await;
                laid.small_disk = Some(disk);
            }
            Self::SqliteImage => {
                let image = Image::make(&cluster.folder().join("disk"), "sqlite");
                sqlite_at(cluster, &image.folder).await;
                laid.image = tokio::sync::Mutex::new(Some(image));
            }
            Self::PostgresImage => {
                cluster.tell("stop", "postgres").await;
                let image = Image::make(&cluster.folder().join("disk"), "postgres");
                let (told, data) = (cluster.folder().join("postgres.data"), image.folder.join("data"));
                let before = fs::read_to_string(&told).unwrap();
                run(&["cp", "--archive", before.trim(), data.to_str().unwrap()]);
                // Nobody has asked for it to be on the disk.
                run(&["sync", "--file-system", data.to_str().unwrap()]);
                fs::write(told, format!("{}\n", data.display())).unwrap();
                cluster.tell("start", "postgres").await;
                cluster.healed().await;
                laid.image = tokio::sync::Mutex::new(Some(image));
            }
        }
        laid
    }

    /// The nodes stand as before.
    pub async fn lift(self, cluster: &Cluster) {
        if !matches!(self, Self::Plain | Self::Sqlite | Self::PostgresImage) {
            cluster.restart_with(|_| Vec::new()).await;
            cluster.database_is_at(None);
        }
        if matches!(self, Self::Clocks { .. }) {
            forget_clocks();
        }
    }
}

/// What libfaketime leaves in memory of processes that have ended.
fn forget_clocks() {
    for file in fs::read_dir("/dev/shm").unwrap().flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        let pid = ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|start| name.strip_prefix(start));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(fs::remove_file(file.path()));
        }
    }
}

fn limits(own: &[&str]) -> Vec<String> {
    own.iter().map(|limit| format!("HUBBUB__LIMITS__{limit}")).collect()
}

async fn sqlite_at(cluster: &Cluster, folder: &Path) {
    let url = format!("sqlite://{}/hubbub.db", folder.display());
    cluster.restart_with(|_| vec![format!("HUBBUB__DATABASE__URL={url}")]).await;
    cluster.database_is_at(Some(url));
}

fn clock_file(cluster: &Cluster, node: usize) -> PathBuf {
    cluster.folder().join(format!("clock{node}"))
}

/// How far a node's clock is from this machine's, as libfaketime writes it, such as `+300` or `-60y`.
pub fn set_clock(cluster: &Cluster, node: usize, offset: &str) {
    let (file, new) = (clock_file(cluster, node), clock_file(cluster, node).with_extension("new"));
    // It is read whenever somebody asks for the time.
    fs::write(&new, offset).and_then(|()| fs::rename(&new, &file)).unwrap();
}

fn faketime() -> String {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten().map(|folder| folder.path());
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    found.expect("libfaketimeMT.so.1 (of the package libfaketime)").display().to_string()
}
