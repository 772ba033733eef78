//! A hub as users run it: the binary, a folder of its own, a free port. With HUBBUB_TEST_CORES=1 on one core.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{Api, Client, Database, PATIENCE, Postgres, SECRET, on_postgres, token};

/// How a hub is to be started.
#[derive(Clone, Default)]
pub struct HubOptions {
    environment: Vec<(String, String)>,
    wrapper: Vec<String>,
    one_core: bool,
    config: Option<PathBuf>,
}

impl HubOptions {
    /// Sets a key of the config.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.environment.push((variable(key), value.to_string()));
        self
    }

    /// With a file of settings.
    pub fn config_file(mut self, path: &Path) -> Self {
        self.config = Some(path.to_owned());
        self
    }

    /// On SQLite, whatever the others run on: for what only it has.
    pub fn sqlite(self) -> Self {
        self.set(DATABASE_URL, "sqlite://data/hubbub.db")
    }

    /// On this database, which a hub that starts gets otherwise.
    pub fn database_url(&self) -> &str {
        let name = variable(DATABASE_URL);
        let set = self.environment.iter().rev().find(|(key, _)| *key == name);
        set.map_or("sqlite://data/hubbub.db", |(_, url)| url)
    }

    fn with_database(self) -> Self {
        let chosen = self.environment.iter().any(|(key, _)| *key == variable(DATABASE_URL));
        if on_postgres() && !chosen { self.set(DATABASE_URL, Postgres::shared().database()) } else { self }
    }

    /// A program that runs the hub, such as strace.
    pub fn run_by(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// On one of the cores that there are.
    pub fn on_one_core(mut self) -> Self {
        self.one_core = true;
        self
    }

    /// No rate limit, for tests that send as fast as they can.
    pub fn unlimited(self) -> Self {
        let fast = self.set("limits.commands_per_second", 1_000_000).set("limits.commands_burst", 1_000_000);
        let fast = fast.set("limits.user_commands_per_second", 1_000_000).set("limits.user_commands_burst", 1_000_000);
        let fast = fast.set("limits.frames_per_second", 1_000_000).set("limits.frames_burst", 1_000_000);
        let fast = fast.set("limits.sessions_per_user", 100_000).set("limits.sign_ins_per_minute", 100_000);
        fast.set("limits.pending_commands", 20_000).set("limits.new_rooms_per_hour", 10_000)
    }
}

/// Whether each hub is to have one core.
pub fn all_on_one_core() -> bool {
    match std::env::var("HUBBUB_TEST_CORES").as_deref() {
        Err(_) => false,
        Ok("1") => true,
        Ok(other) => panic!("HUBBUB_TEST_CORES is {other:?}, and must be 1"),
    }
}

/// What runs a program on the first core that this process may use.
fn on_first_core() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    vec!["taskset".to_owned(), "-c".to_owned(), first]
}

const DATABASE_URL: &str = "database.url";

fn variable(key: &str) -> String {
    format!("HUBBUB__{}", key.to_uppercase().replace('.', "__"))
}

pub struct Hub {
    options: HubOptions,
    folder: TempDir,
    child: Child,
    pub address: SocketAddr,
    /// What it said on stdout after its address.
    said: String,
}

impl Hub {
    /// A hub with a folder of its own and the settings of a first start, but for the port and the secret.
    pub fn start() -> Self {
        Self::with(HubOptions::default())
    }

    pub fn with(options: HubOptions) -> Self {
        let (folder, options) = (TempDir::new().unwrap(), options.with_database());
        let (child, address, said) = spawn(&options, folder.path());
        Self { options, folder, child, address, said }
    }

    /// The command as a person would type it in this hub's folder, with this hub's settings.
    pub fn beside(&self, arguments: &[&str]) -> std::process::Output {
        let options = HubOptions { wrapper: Vec::new(), ..self.options.clone() };
        Self::command(self.folder(), &options).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// HTTP as an admin.
    pub fn admin(&self) -> Api {
        let made = self.beside(&["user", "admin", "root"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.api("root")
    }

    /// The command as a person would type it in a folder.
    pub fn command(folder: &Path, options: &HubOptions) -> Command {
        let binary = env!("CARGO_BIN_EXE_hubbub").to_owned();
        let pin = if options.one_core || all_on_one_core() { on_first_core() } else { Vec::new() };
        let words: Vec<String> = pin.into_iter().chain(options.wrapper.clone()).chain([binary]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(folder).env("HUBBUB__AUTH__SECRET", SECRET);
        command.env("HUBBUB__SERVER__BIND", "127.0.0.1:0");
        if let Some(config) = &options.config {
            command.arg("--config").arg(config);
        }
        command.envs(options.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        command
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn database_file(&self) -> PathBuf {
        self.folder.path().join("data/hubbub.db")
    }

    pub async fn database(&self) -> Database {
        match self.options.database_url().strip_prefix("sqlite://") {
            Some(file) => Database::open(&format!("sqlite://{}", self.folder().join(file).display())).await,
            None => Database::open(self.options.database_url()).await,
        }
    }

    /// The settings that it was started with.
    pub fn options(&self) -> &HubOptions {
        &self.options
    }

    /// The variables that hold them.
    pub fn environment(&self) -> &[(String, String)] {
        &self.options.environment
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the hub has written to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// HTTP as this user.
    pub fn api(&self, user: &str) -> Api {
        Api::new(self.address, Some(token(user, user)))
    }

    /// A native session of this user.
    pub async fn client(&self, user: &str) -> Client {
        Client::native(self, &token(user, user)).await
    }

    /// A native session of this user in this room.
    pub async fn member(&self, user: &str, room: &str) -> Client {
        let mut client = self.client(user).await;
        client.join(room).await;
        client
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -{name}");
    }

    /// SIGKILL: what a crash does.
    pub fn kill(&mut self) {
        self.end_wrapped();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// A program that runs the hub would leave it behind: the hub goes first.
    fn end_wrapped(&self) {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid())).unwrap_or_default();
        for child in children.split_whitespace().filter(|_| !self.options.wrapper.is_empty()) {
            drop(Command::new("kill").args(["-KILL", child]).status());
        }
    }

    /// The hub again on the same folder, on another port.
    pub fn restart(&mut self) {
        (self.child, self.address, self.said) = spawn(&self.options, self.folder.path());
    }

    /// The token of the set-up link, where it printed one for its own address.
    pub fn setup_token(&self) -> Option<String> {
        let start = format!("no admin yet: open http://{}/admin#setup=", self.address);
        let line = self.said.lines().find_map(|line| line.strip_prefix(&start))?;
        let (token, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "(good for 24 hours, works once)");
        Some(token.to_owned())
    }

    /// Everything that it said on stdout after its address.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Waits for the process's end.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < within, "the hub did not end within {within:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn spawn(options: &HubOptions, folder: &Path) -> (Child, SocketAddr, String) {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut child = Hub::command(folder, options).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let start = Instant::now();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    // It is all said in one write.
    let said = String::from_utf8(stdout.buffer().to_vec()).unwrap();
    let address = line.trim().strip_prefix("hubbub listens on http://");
    let log = || fs::read_to_string(folder.join("log")).unwrap();
    let address = address.unwrap_or_else(|| panic!("no address but {line:?}:\n{}", log()));
    assert!(start.elapsed() < PATIENCE);
    (child, address.parse().unwrap(), said)
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.end_wrapped();
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("--- the hub's log ---\n{}", self.log());
        }
    }
}
