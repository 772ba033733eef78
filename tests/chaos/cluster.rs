//! The cluster under test: scripts/cluster, held by a pipe so that it ends with this process, however that ends; its parts by
//! name; the settings of its nodes; and what is read past it (processes, numbers, the database).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    net::Network,
    verdict::{Message, Stored},
};
use crate::support::{Database, unique};

/// A part that takes longer to come back is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Three hubs on PostgreSQL and Redis.
    Three,
    /// One hub on SQLite.
    Sqlite,
}

pub struct Cluster {
    pub shape: Shape,
    folder: PathBuf,
    settings: HashMap<String, String>,
    child: Mutex<Child>,
    /// Another database than the cluster's own.
    database: Mutex<Option<String>>,
    metrics_token: String,
    pub network: Arc<Network>,
    pub nodes: usize,
}

/// What one node says of itself, by the metric's name, with its labels where it has some.
pub type Numbers = HashMap<String, f64>;

/// Nothing that a test's client does is too much.
const UNLIMITED: &[(&str, &str)] = &[
    ("COMMANDS_PER_SECOND", "1000000"),
    ("COMMANDS_BURST", "1000000"),
    ("USER_COMMANDS_PER_SECOND", "1000000"),
    ("USER_COMMANDS_BURST", "1000000"),
    ("FRAMES_PER_SECOND", "1000000"),
    ("FRAMES_BURST", "1000000"),
    ("SESSIONS_PER_USER", "100000"),
    ("SESSIONS_PER_ADDRESS", "100000"),
    ("HANDSHAKES_PER_ADDRESS", "100000"),
    ("NEW_ROOMS_PER_HOUR", "100000"),
    ("PENDING_COMMANDS", "20000"),
];

impl Cluster {
    /// Starts one in this folder, which is made.
    pub fn up(folder: &Path, shape: Shape) -> Self {
        let mut command = Self::command(folder, &["up", "--debug", "--until-eof"]);
        if shape == Shape::Sqlite {
            command.arg("--sqlite");
        }
        let metrics_token = unique();
        command.env("HUBBUB__SERVER__METRICS_TOKEN", &metrics_token);
        command.envs(UNLIMITED.iter().map(|(key, value)| (format!("HUBBUB__LIMITS__{key}"), value)));
        // Beside its folder: it takes only one that is its own, and clears that up at the end, but for its logs.
        let said = folder.with_extension("log");
        let log = fs::File::create(&said).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("cluster ready"));
        let log = || fs::read_to_string(&said).unwrap_or_default();
        assert!(ready, "the cluster did not start:\n{}", log());
        // It goes on talking, and must not wait for us.
        std::thread::spawn(move || lines.for_each(drop));
        let text = fs::read_to_string(folder.join("cluster.env")).unwrap();
        let pairs = text.lines().filter_map(|line| line.trim().trim_start_matches("export ").split_once('='));
        let plain = |value: &str| value.trim_matches(['"', '\'']).to_owned();
        let settings: HashMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), plain(value))).collect();
        let setting = |key: &str| settings.get(key).unwrap_or_else(|| panic!("cluster.env has no {key}")).clone();
        let port = |key: &str| setting(key).parse::<u16>().unwrap_or_else(|_| panic!("cluster.env: {key} is no port"));
        let nodes: usize = setting("NODES").parse().unwrap();
        let ports: Vec<_> = (1..=nodes).map(|node| port(&format!("NODE{node}_PORT"))).collect();
        let authority = PathBuf::from(setting("CA_FILE"));
        let network = Arc::new(Network::new(port("NGINX_PORT"), &ports, &authority, &setting("AUTH_SECRET")));
        let (folder, child, database) = (folder.to_owned(), Mutex::new(child), Mutex::new(None));
        Self { shape, folder, settings, child, database, metrics_token, network, nodes }
    }

    fn command(folder: &Path, words: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("scripts/cluster"));
        command.args(words).arg("--dir").arg(folder).current_dir(root);
        // Another one by the environment, such as a mutant.
        let binary = std::env::var("HUBBUB_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_hubbub").to_owned());
        command.env("HUBBUB_BIN", binary);
        command
    }

    pub fn setting(&self, key: &str) -> &str {
        self.settings.get(key).unwrap_or_else(|| panic!("cluster.env has no {key}"))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Settings for one node, from its next start on; lines `KEY=value`.
    pub fn set_node(&self, node: usize, lines: &[String]) {
        let file = self.folder.join(format!("node{node}.env"));
        if lines.is_empty() {
            drop(fs::remove_file(file));
        } else {
            fs::write(file, lines.join("\n")).unwrap();
        }
    }

    /// All nodes start again, with settings of their own beside the cluster's.
    pub async fn restart_with(&self, lines: impl Fn(usize) -> Vec<String>) {
        for node in 1..=self.nodes {
            self.set_node(node, &lines(node));
            self.tell("restart", &format!("node{node}")).await;
        }
        self.healed().await;
    }

    /// The database is elsewhere from now on, or where it was.
    pub fn database_is_at(&self, url: Option<String>) {
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    pub fn database_url(&self) -> String {
        let other = self.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
        other.unwrap_or_else(|| self.setting("DATABASE_URL").to_owned())
    }

    /// Runs SQL as PostgreSQL's administrator, and gives what it says.
    pub fn sql(&self, sql: &str) -> String {
        let url = format!("postgres://administrator@127.0.0.1:{}/hubbub", self.setting("POSTGRES_PORT"));
        let output = Command::new("psql").args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, &url]).output().unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// start, stop, kill, pause, resume or restart a part. Returns when that is done.
    pub async fn tell(&self, verb: &'static str, part: &str) {
        let (folder, part) = (self.folder.clone(), part.to_owned());
        let told = move || {
            let output = Self::command(&folder, &[verb, &part]).stdin(Stdio::null()).output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert!(output.status.success(), "cluster {verb} {part}: {}", String::from_utf8_lossy(&said));
        };
        blocking(told).await;
    }

    /// Waits until every node says that it is ready, and has its Redis.
    pub async fn healed(&self) {
        self.still_there();
        let start = Instant::now();
        while !self.all(true).await {
            assert!(start.elapsed() < PATIENCE, "not all nodes are well after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether every node is well, or none is.
    pub async fn all(&self, well: bool) -> bool {
        let (network, nodes) = (Arc::clone(&self.network), self.nodes);
        let look = move || (0..nodes).all(|node| network.is_well(node) == well);
        tokio::task::spawn_blocking(look).await.unwrap()
    }

    /// Panics where the cluster itself is gone, which no scenario asks for.
    fn still_there(&self) {
        let ended = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().unwrap();
        assert!(ended.is_none(), "somebody has ended the cluster: {ended:?}");
    }

    /// The process of a part, which may have ended.
    pub fn pid(&self, part: &str) -> u32 {
        let file = self.folder.join(format!("{part}.pid"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        text.trim().parse().unwrap()
    }

    /// Whether a node's process is there, and no dead one that nobody has buried.
    pub fn runs(&self, node: usize) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid(&format!("node{node}"))));
        stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
    }

    /// What a part has said so far.
    pub fn log(&self, part: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{part}.log"))).unwrap_or_default()
    }

    /// Bytes of memory of each node's process that runs now.
    pub fn memory(&self) -> BTreeMap<usize, u64> {
        let resident = |node: &usize| {
            let pid = fs::read_to_string(self.folder.join(format!("node{node}.pid"))).ok()?;
            let status = fs::read_to_string(format!("/proc/{}/status", pid.trim())).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            Some((*node, line.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1_024))
        };
        (1..=self.nodes).filter_map(|node| resident(&node)).collect()
    }

    /// What each node counts, from node 1 on. All must answer.
    pub async fn numbers(&self) -> Vec<Numbers> {
        let (network, token, nodes) = (Arc::clone(&self.network), self.metrics_token.clone(), self.nodes);
        let ask = move || (0..nodes).map(|node| network.get(node, "/metrics", &token)).collect::<Vec<_>>();
        let texts = tokio::task::spawn_blocking(ask).await.unwrap();
        let line = |line: &str| {
            let (name, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let numbers = |answer: Result<(u16, String), String>| {
            let (status, text) = answer.expect("a node does not say what it counts");
            assert_eq!(status, 200, "a node does not say what it counts: {text}");
            let numbers: Numbers = text.lines().filter_map(line).collect();
            assert!(numbers.contains_key("hubbub_pages_read_total"), "{text}");
            numbers
        };
        texts.into_iter().map(numbers).collect()
    }

    /// What is stored in these rooms.
    pub async fn stored(&self, rooms: impl Iterator<Item = &str>) -> Stored {
        let database = Database::open(&self.database_url()).await;
        let mut stored = Stored::new();
        for room in rooms {
            let rows = database.messages(room).await;
            let messages = rows.into_iter().map(|row| Message { seq: row.seq, user: row.user, content: row.content });
            stored.insert(room.to_owned(), messages.collect());
        }
        stored
    }

    /// Messages whose time is before that of the one before, which no clock may do.
    pub async fn back_in_time(&self) -> i64 {
        let earlier =
            "SELECT created_at < lag(created_at) OVER (PARTITION BY room_id ORDER BY seq) AS earlier FROM hub_message";
        let database = Database::open(&self.database_url()).await;
        database.number(&format!("SELECT count(*) FROM ({earlier}) AS times WHERE earlier")).await
    }
}

/// Runs this on a thread for such things; its panic is the caller's.
async fn blocking(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        std::panic::resume_unwind(error.into_panic());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(child.stdin.take());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(child.kill());
        drop(child.wait());
    }
}
