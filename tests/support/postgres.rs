//! A PostgreSQL server of the tests' own, on a free port, so that it can be paused and killed. One is shared by all tests
//! that only need a database; whoever harms it starts another. It ends with the test process, however that ends.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::PATIENCE;

pub struct Postgres {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    child: Child,
}

static SHARED: LazyLock<Postgres> = LazyLock::new(|| Postgres::start(&[]));
static DATABASES: AtomicUsize = AtomicUsize::new(0);

/// Runs the server, and ends it when the test process is gone, which closes the pipe.
const WATCH: &str =
    r#"folder=$1; shift; "$@" & server=$!; cat >/dev/null; kill -QUIT $server; wait $server; rm -rf "$folder""#;

impl Postgres {
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// A server with these settings (`name=value`).
    pub fn start(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("hubbub-postgres-").tempdir().unwrap().keep();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&folder).status().unwrap().success(), "chown");
        }
        let data = folder.join("data");
        // Real databases compare text by a language, not by bytes.
        let made = as_owner("initdb")
            .args(["-U", "administrator", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--locale-provider=icu"])
            .args(["--icu-locale=en", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let settings: Vec<_> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let child = serve(&folder, port, &settings);
        let server = Self { folder, port, settings, child };
        server.wait_until_ready();
        server.sql("CREATE ROLE app LOGIN");
        server
    }

    /// The address of a new, empty database, of a user who may do nothing else.
    pub fn database(&self) -> String {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name} OWNER app"));
        self.url("app", &name)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs SQL as the server's administrator, gives its output.
    pub fn sql(&self, sql: &str) -> String {
        let url = self.url("administrator", "postgres");
        let output = client("psql").args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql, &url]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn wait_until_ready(&self) {
        let start = Instant::now();
        let url = self.url("administrator", "postgres");
        while !client("psql").args(["-qAtX", "-c", "SELECT 1", &url]).output().unwrap().status.success() {
            assert!(start.elapsed() < PATIENCE, "PostgreSQL does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The server's processes, the first one first.
    fn processes(&self) -> Vec<String> {
        let first = fs::read_to_string(self.folder.join("data/postmaster.pid")).unwrap_or_default();
        let Some(first) = first.lines().next().map(str::to_owned) else { return Vec::new() };
        let others = fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        std::iter::once(first).chain(others.split_whitespace().map(str::to_owned)).collect()
    }

    fn signal(&self, name: &str) {
        // A backend may have ended by itself since it was seen.
        drop(Command::new("kill").arg(format!("-{name}")).args(self.processes()).stderr(Stdio::null()).status());
    }

    /// All of it stands still, and its sockets stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// SIGKILL, to all of it.
    pub fn kill(&mut self) {
        self.end_watch();
        self.signal("KILL");
    }

    /// Asks it to stop, sessions or not, and waits.
    pub fn stop(&mut self) {
        self.end_watch();
        let stopped =
            as_owner("pg_ctl").args(["stop", "-m", "fast", "-w", "-D"]).arg(self.folder.join("data")).output();
        assert!(stopped.unwrap().status.success(), "pg_ctl stop");
    }

    /// The watching shell would take the folder with the server.
    fn end_watch(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The server again, on the same data and port.
    pub fn start_again(&mut self) {
        // Of the one before, which a machine that starts again would not have either.
        for left in ["data/postmaster.pid".to_owned(), format!(".s.PGSQL.{}.lock", self.port)] {
            drop(fs::remove_file(self.folder.join(left)));
        }
        self.child = serve(&self.folder, self.port, &self.settings);
        self.wait_until_ready();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- PostgreSQL's log ---\n{}", self.log());
        }
        self.go_on();
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

fn serve(folder: &Path, port: u16, settings: &[String]) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let mut command = as_owner("sh");
    command.args(["-c", WATCH, "sh"]).arg(folder).arg(program("postgres")).arg("-D").arg(folder.join("data"));
    command.args(["-p", &port.to_string(), "-k"]).arg(folder);
    for setting in ["listen_addresses=127.0.0.1", "max_connections=400", "shared_buffers=64MB"] {
        command.args(["-c", setting]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// PostgreSQL refuses to run as root; its package has made a user for it.
fn as_owner(name: &str) -> Command {
    let program = program(name);
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program).current_dir("/");
    command
}

/// A program that runs as whoever tests.
pub fn client(name: &str) -> Command {
    Command::new(program(name))
}

/// Debian keeps the server's programs out of the PATH, by version.
fn program(name: &str) -> PathBuf {
    let mut versions: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    versions.sort_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    let found = versions.iter().rev().map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| name.into())
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
