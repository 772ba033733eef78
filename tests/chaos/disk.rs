//! Disks that are full, that fail and that lose their power. Mounts are this process's own (`in_namespace`) and go with it,
//! however it ends.

use std::{
    fs,
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::cluster::Cluster;

/// Says that this process has mounts of its own already.
const INSIDE: &str = "HUBBUB_CHAOS_MOUNTS";
/// Where an image's bytes are: memory, so that only what the file system was made to write is in them.
const MEMORY: &str = "/dev/shm";

/// This program again, with mounts that nobody else sees. Without the right to that the scenarios that mount something fail.
pub fn in_namespace() {
    if std::env::var_os(INSIDE).is_none() && is_root() {
        let this = std::env::current_exe().unwrap();
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private"]).arg(this).args(std::env::args_os().skip(1));
        let error = again.env(INSIDE, "1").exec();
        panic!("unshare (of util-linux): {error}");
    }
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

pub fn run(words: &[&str]) {
    let output =
        Command::new(words[0]).args(&words[1..]).output().unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said).trim());
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small disk in memory, which can be filled up.
pub struct SmallDisk {
    pub folder: PathBuf,
}

impl SmallDisk {
    pub fn mount(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        run(&["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", text(folder)]);
        Self { folder: folder.to_owned() }
    }

    /// Not a byte is left.
    pub fn fill(&self) {
        let filler = fs::File::create(self.folder.join("filler")).unwrap();
        let mut filler = std::io::BufWriter::with_capacity(4_096, filler);
        let page = [b'x'; 4_096];
        let full = loop {
            if let Err(error) = std::io::Write::write_all(&mut filler, &page) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
        // What is in the buffer has no place either.
        drop(filler.into_parts());
    }

    pub fn empty(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["--lazy", text(&self.folder)]).output());
    }
}

/// A disk with a file system on it, which can lose its power: what was not written through is gone then, and what was is
/// there. A process that is killed loses nothing of what the kernel holds, so kills can't show that.
pub struct Image {
    /// Without a name: it ends with the last who has it open, whatever becomes of this process.
    bytes: fs::File,
    pub folder: PathBuf,
}

impl Image {
    pub fn make(folder: &Path, name: &str) -> Self {
        let file = Self::file(name);
        fs::File::create(&file).and_then(|file| file.set_len(256 << 20)).unwrap();
        run(&["mkfs.ext4", "-q", text(&file)]);
        fs::create_dir_all(folder).unwrap();
        Self { bytes: Self::mount(&file, folder), folder: folder.to_owned() }
    }

    fn file(name: &str) -> PathBuf {
        Path::new(MEMORY).join(format!("hubbub-chaos-{name}-{}.img", std::process::id()))
    }

    /// Mounts a file, and takes its name away.
    fn mount(file: &Path, folder: &Path) -> fs::File {
        let bytes = fs::File::open(file).unwrap();
        run(&["mount", "-o", "loop", text(file), text(folder)]);
        fs::remove_file(file).unwrap();
        bytes
    }

    /// What a dead process had open may take a moment to be let go.
    async fn unmount(&self) {
        for _ in 0..250 {
            if Command::new("umount").arg(&self.folder).stderr(Stdio::null()).status().unwrap().success() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} stays mounted", self.folder.display());
    }

    /// What is on the disk at this moment, in a file. Whoever writes there stands still; the kernel may be writing by itself, so
    /// it is copied until two looks are the same.
    fn copied(&self) -> PathBuf {
        let (copy, bytes) = (Self::file("copy"), format!("/proc/{}/fd/{}", std::process::id(), self.bytes.as_raw_fd()));
        for _ in 0..20 {
            run(&["cp", "--sparse=always", &bytes, text(&copy)]);
            if Command::new("cmp").args(["--silent", &bytes, text(&copy)]).status().unwrap().success() {
                return copy;
            }
        }
        drop(fs::remove_file(copy));
        panic!("the kernel does not stop writing to {}", self.folder.display());
    }

    /// The machine on which this part stands loses its power, and comes back.
    pub async fn lose_power(&mut self, cluster: &Cluster, part: &str) {
        cluster.tell("pause", part).await;
        let copy = self.copied();
        cluster.tell("kill", part).await;
        self.unmount().await;
        self.bytes = Self::mount(&copy, &self.folder);
        cluster.tell("start", part).await;
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        drop(Command::new("umount").args(["--lazy", text(&self.folder)]).output());
    }
}

/// The kernel's answers to a process that wants its writes on the disk, as strace makes them.
pub struct Sync(Child);

impl Sync {
    /// From now on each sync of this process fails, or takes so long.
    pub async fn inject(pid: u32, what: &str) -> Self {
        let calls = "fsync,fdatasync";
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{what}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", &trace, "-e", &inject]);
        let this = Self(command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).spawn().unwrap());
        let tracer = format!("TracerPid:\t{}", this.0.id());
        let traced = || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            let mut statuses =
                threads.map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default());
            statuses.all(|status| status.contains(&tracer))
        };
        for _ in 0..200 {
            if traced() {
                return this;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("strace does not get hold of process {pid}");
    }
}

impl Drop for Sync {
    fn drop(&mut self) {
        // It lets go of the process; killed, it would take it along.
        drop(Command::new("kill").args(["-INT", &self.0.id().to_string()]).status());
        drop(self.0.wait());
    }
}
