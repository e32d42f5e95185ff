//! The step `slurm`: a sweep in eight shards on a real Slurm of one node, one of them killed in the middle, submitted again, and
//! joined: the same as one run to the last bit.
//!
//! It starts its own munged, slurmctld and slurmd, as root, with files in a folder of its own and on ports that are free, and ends them.
//! Any Slurm that the machine has is left alone.

use crate::check::{Count, in_checkout, target};
use crate::places::Places;
use crate::process::{self, command, on_path};
use crate::steps::{self, remove_folder, step};
use crate::trouble::Trouble;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What must be there, by the names of Debian's programs.
const PROGRAMS: [&str; 6] = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel"];

const SHARDS: usize = 8;

/// So many that a shard takes some seconds, in which it can be killed.
const PROMPTS: &str = "600";

/// How long anything may take that waits for Slurm.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs the step, or says why it does not run here.
///
/// # Errors
/// A program that does not start, a Slurm that does not come up.
pub fn shards_killed_and_resumed(places: &Places) -> Result<Count, Trouble> {
    if let Some(why) = missing() {
        let packages = "Debian's packages slurmctld, slurmd, slurm-client and munge";
        let needs = format!("shards on a real Slurm: need root and {packages}, and {why}");
        return Ok(Count { left_out: vec![needs], ..Count::default() });
    }
    let mut build = in_checkout(places, &["build", "--example", "sweep_in_shards"]);
    process::run(&mut build, "Read cargo's message above.")?;
    let example = target(places).join("debug/examples/sweep_in_shards");
    let folder = std::env::temp_dir().join(format!("candle-lens-slurm-{}", std::process::id()));
    let cluster = match step("Starting a Slurm of one node", || Cluster::start(&folder)) {
        Ok(cluster) => cluster,
        // A container may keep daemons from what they need, which says nothing of shards.
        Err(why) => {
            println!("{why}{}", logs(&folder));
            let _ = remove_folder(&folder);
            let why = why.to_string().replace('\n', " ");
            let needs = format!("shards on a real Slurm: need one that starts on this machine, and here {why}");
            return Ok(Count { left_out: vec![needs], ..Count::default() });
        }
    };
    let outcome = cluster.try_shards(&example);
    cluster.stop();
    match &outcome {
        // A daemon that is slow to end may still write there.
        Ok(()) => drop(remove_folder(&folder)),
        Err(_) => println!("    what Slurm and the shards wrote is in {}{}", folder.display(), logs(&folder)),
    }
    outcome.map(|()| Count::one(true))
}

/// The ends of the daemons' logs.
fn logs(folder: &Path) -> String {
    let end = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("\n    {name}:\n{}", lines[lines.len().saturating_sub(12)..].join("\n"))
    };
    ["munged.log", "slurmctld.log", "slurmd.log"].map(end).concat()
}

/// What this machine lacks.
fn missing() -> Option<String> {
    if let Some(program) = PROGRAMS.into_iter().find(|program| on_path(program).is_none()) {
        return Some(format!("`{program}` is not there"));
    }
    let id = Command::new("id").arg("-u").output().ok()?;
    (id.stdout != b"0\n").then(|| "this user is not root".into())
}

/// Daemons that were started here.
struct Cluster {
    folder: PathBuf,
}

fn failed(what: impl Into<String>) -> Trouble {
    Trouble::new(what, "Read the logs in the folder that is named above, or below.")
}

impl Cluster {
    fn start(folder: &Path) -> Result<Self, Trouble> {
        for part in ["state", "spool"] {
            steps::make_folder(&folder.join(part))?;
        }
        let cluster = Self { folder: folder.into() };
        let name = text(Command::new("uname").arg("-n"))?;
        let conf = configuration(folder, name.trim().split('.').next().unwrap_or("localhost"))?;
        steps::write(&cluster.file("slurm.conf"), &conf)?;
        cluster.make_key()?;
        let started = cluster.start_daemons();
        if started.is_err() {
            cluster.stop();
        }
        started.map(|()| cluster)
    }

    fn start_daemons(&self) -> Result<(), Trouble> {
        let path = |option: &str, name: &str| format!("--{option}={}", self.file(name).display());
        let mut munged = command("munged");
        // The folder for temporary files is everybody's, which munged takes only if it is told to.
        munged.arg("--force").args([path("key-file", "munge.key"), path("socket", "munge.sock")]);
        munged.args([path("pid-file", "munged.pid"), path("log-file", "munged.log"), path("seed-file", "munge.seed")]);
        let why = "Read its log in the folder of the step.";
        process::run(&mut munged, why)?;
        process::run(&mut self.slurm("slurmctld"), why)?;
        process::run(&mut self.slurm("slurmd"), why)?;
        wait("the node is not idle", || {
            Ok(text(self.slurm("sinfo").args(["--noheader", "--format=%T"]))?.trim() == "idle")
        })
    }

    /// A secret by which the daemons know each other.
    fn make_key(&self) -> Result<(), Trouble> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.file("munge.key");
        let wrong = |source| Trouble::file("Writing", &path, &source);
        let mut key = [0; 128];
        fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key)).map_err(wrong)?;
        let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(wrong)?;
        std::io::Write::write_all(&mut file, &key).map_err(wrong)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A program that talks to this Slurm, and to no other.
    fn slurm(&self, program: &str) -> Command {
        let mut slurm = command(program);
        slurm.env("SLURM_CONF", self.file("slurm.conf")).stderr(Stdio::null());
        slurm
    }

    /// `cargo lab` with these words.
    fn lab(&self, words: &[&str]) -> Result<Command, Trouble> {
        let own =
            std::env::current_exe().map_err(|source| failed(format!("The launcher has no program: {source}.")))?;
        let mut lab = self.slurm("env");
        lab.arg(own).args(words);
        Ok(lab)
    }

    /// Eight shards, one killed and resumed, against one run.
    fn try_shards(&self, example: &Path) -> Result<(), Trouble> {
        let (out, whole) = (self.file("work"), self.file("whole"));
        let (work, program) = (out.display().to_string(), example.display().to_string());
        let shards = SHARDS.to_string();
        let submit = ["submit", "--shards", &shards, "--out", &work, "--time", "0:30:00", "--", &program, PROMPTS];
        let mut one = command(example);
        one.arg(PROMPTS).env("CANDLE_LENS_OUT", &whole).env_remove("CANDLE_LENS_SHARD");
        step("One run", || process::run(&mut one, "Read its message above."))?;
        let killed = step("Eight shards, one of which is killed", || {
            println!("{}", text(&mut self.lab(&submit)?)?);
            let killed = self.kill_one(&out)?;
            self.wait_for_jobs()?;
            Ok(killed)
        })?;
        let gathered = self.lab(&["gather", &work])?.output().map_err(|source| failed(format!("{source}.")))?;
        let said = String::from_utf8_lossy(&gathered.stdout);
        if gathered.status.success() || !said.contains(&format!("shard {killed}/{SHARDS} was stopped")) {
            return Err(failed(format!("`cargo lab gather` does not say that shard {killed} was stopped: {said}")));
        }
        step("The same command again", || {
            let said = text(&mut self.lab(&submit)?)?;
            println!("{said}");
            if !said.contains(&format!("to be computed: {killed}\n")) {
                return Err(failed(format!("More or less than shard {killed} is computed again.")));
            }
            self.wait_for_jobs()
        })?;
        let mut joined = command(example);
        joined.arg("gather").arg(out.join("results")).arg(&whole);
        process::run(&mut joined, "The joined result must be that of one run to the last bit; see above.")
    }

    /// Cancels the first shard that has saved something and is not done, and returns its number.
    fn kill_one(&self, out: &Path) -> Result<usize, Trouble> {
        let job = fs::read_to_string(out.join("job.txt")).map_err(|source| Trouble::file("Reading", out, &source))?;
        let is_at_work = |number: &usize| {
            let part = out.join(format!("results/shard-{number}-of-{SHARDS}.safetensors"));
            part.exists() && !out.join(format!("shards/{number}.done")).exists()
        };
        let mut killed = None;
        wait("no shard was found at work", || {
            let Some(number) = (1..=SHARDS).find(is_at_work) else { return Ok(false) };
            let task = format!("{}_{number}", job.trim());
            process::run(self.slurm("scancel").arg(task), "Read its message above.")?;
            // It may have ended just before.
            let ended = Instant::now();
            while ended.elapsed() < Duration::from_secs(5) && !out.join(format!("shards/{number}.done")).exists() {
                std::thread::sleep(Duration::from_millis(100));
            }
            killed = (!out.join(format!("shards/{number}.done")).exists()).then_some(number);
            Ok(killed.is_some())
        })?;
        println!("    killed shard {}", killed.unwrap_or_default());
        killed.ok_or_else(|| failed("No shard was killed."))
    }

    fn wait_for_jobs(&self) -> Result<(), Trouble> {
        wait("jobs do not end", || Ok(text(self.slurm("squeue").arg("--noheader"))?.trim().is_empty()))
    }

    /// Ends the daemons that were started here.
    fn stop(&self) {
        let id = |name: &str| fs::read_to_string(self.file(name)).ok().map(|id| id.trim().to_string());
        for daemon in ["slurmd.pid", "slurmctld.pid", "munged.pid"] {
            if let Some(id) = id(daemon) {
                let _ = Command::new("kill").arg(&id).status();
                let ended = Instant::now();
                while runs(&id) && ended.elapsed() < Duration::from_secs(10) {
                    std::thread::sleep(Duration::from_millis(50));
                }
                if runs(&id) {
                    let _ = Command::new("kill").args(["-KILL", &id]).status();
                }
            }
        }
    }
}

/// Whether the process is there and has not ended: one that nobody waits for stays in the list when it has.
fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, state)| !state.trim_start().starts_with('Z'))
}

/// A Slurm of one node, this machine, whose files are in this folder.
fn configuration(folder: &Path, name: &str) -> Result<String, Trouble> {
    let free = || {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(|source| failed(format!("No port is free: {source}.")))?;
        Ok::<_, Trouble>(listener.local_addr().map_or(0, |address| address.port()))
    };
    let (controller, node, folder) = (free()?, free()?, folder.display());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(format!(
        "ClusterName=lens\nSlurmctldHost={name}(127.0.0.1)\nAuthType=auth/munge\nAuthInfo=socket={folder}/munge.sock\n\
         SlurmUser=root\nSlurmdUser=root\nSlurmctldPort={controller}\nSlurmdPort={node}\nStateSaveLocation={folder}/state\n\
         SlurmdSpoolDir={folder}/spool\nSlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd.pid\n\
         SlurmctldLogFile={folder}/slurmctld.log\nSlurmdLogFile={folder}/slurmd.log\nProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\nJobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nReturnToService=2\nMpiDefault=none\n\
         NodeName={name} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN\n\
         PartitionName=main Nodes={name} Default=YES MaxTime=INFINITE State=UP\n"
    ))
}

/// Asks until the answer is yes. A daemon that is busy does not answer, and a task that has just ended cannot be cancelled: that is asked
/// again too.
fn wait(what: &str, mut done: impl FnMut() -> Result<bool, Trouble>) -> Result<(), Trouble> {
    let begun = Instant::now();
    loop {
        let answer = done();
        if let Ok(true) = answer {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(answer.err().unwrap_or_else(|| failed(format!("After {} s {what}.", PATIENCE.as_secs()))));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a command prints.
fn text(command: &mut Command) -> Result<String, Trouble> {
    let output =
        command.output().map_err(|source| failed(format!("{} did not start: {source}.", process::line(command))))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(failed(format!("{} ended with {}.", process::line(command), output.status))),
    }
}
