//! The real keepers: systemd-networkd and NetworkManager run on the first machine, each on a bus of
//! its own. What setup leaves is taken by them as it was meant, comes back after a restart, and undo
//! takes it away. (That systemd-networkd runs is played: there is no systemd to ask in a namespace.)
//!
//! NetworkManager is the system's, or the one that `EXO_TEST_NETWORK_MANAGER` names: a folder into
//! which its packages were unpacked.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    ROUTE_STOLEN,
    bench::{BRIDGE, Bench, PEER},
    keepers::files,
    machines::{CABLE, PATIENCE},
    ports,
};

/// Everything may talk to everything: nobody else is on this bus.
const BUS: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"#;

/// A daemon with its bus and what it sees of the file system, which this test sees too.
struct Daemon<'a> {
    bench: &'a Bench,
    process: Child,
}

impl<'a> Daemon<'a> {
    /// Runs `script` on the first machine, with `/run` and a bus of its own. It has to end by
    /// becoming the daemon. A `/sys` that cannot be written tells both keepers that there is no udev.
    fn start(bench: &'a Bench, script: &str) -> Self {
        let bus = bench.dir.path().join("bus.conf");
        fs::write(&bus, BUS).unwrap();
        let script = format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/dbus && mount -o remount,ro,bind /sys && \
             dbus-daemon --config-file={} --fork && {script}",
            bus.display()
        );
        let log = fs::File::create(bench.dir.path().join("daemon.log")).unwrap();
        let process = bench
            .machines
            .within(0, &["unshare", "--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { bench, process }
    }

    /// A program that sees what the daemon sees.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.process.id().to_string(), "--mount", "--net", "--"]);
        command.args(words).stdin(Stdio::null());
        command.env("LC_ALL", "C").env("TBNET_STATE", self.bench.dir.path().join("state"));
        let path = env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", self.bench.dir.path().join("tools").display()));
        command
    }

    fn tbnet(&self, words: &[&str]) -> Output {
        self.command(&[&[env!("CARGO_BIN_EXE_tbnet")], words].concat()).output().unwrap()
    }

    /// Carries the plan out that gives each cable a network of its own; `tbnet` itself knows a veth
    /// for none.
    fn set_up_per_port(&self) {
        let words = ports::setup_words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.command(&words);
        let output = command.env(ports::INSIDE, self.bench.dir.path().join("state")).output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", self.log());
    }

    fn done(&self, words: &[&str]) {
        let output = self.tbnet(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() < Some(2), "{words:?}: {said}\n{}", self.log());
    }

    /// What a program says.
    fn said(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < end, "{what} never came about:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bench.dir.path().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.bench.machines.kill_all(0);
        let _ = self.process.wait();
    }
}

/// A program in a folder that is searched first.
fn tool(bench: &Bench, name: &str, script: &str) {
    let tools = bench.dir.path().join("tools");
    fs::create_dir_all(&tools).unwrap();
    let path = tools.join(name);
    fs::write(&path, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).unwrap();
}

fn skip(what: &str) {
    // Past the harness, which swallows what passing tests print.
    let _ = writeln!(std::io::stderr(), "skipped: needs {what}");
}

/// The links, their addresses and routes, without IPv6's own ones of each link: the keepers give one
/// to every link that they look after, and have their own ways of making it up.
fn everything(bench: &Bench) -> Value {
    let mut all = bench.everything();
    for link in all["address"].as_array_mut().unwrap() {
        let rows = link["addr_info"].as_array_mut().unwrap();
        rows.retain(|row| row["scope"] != "link");
        let fields = link.as_object_mut().unwrap();
        fields.remove("inet6_addr_gen_mode");
    }
    let is_v6 = |row: &Value| row["dst"].as_str().is_some_and(|dst| dst.contains(':'));
    let counts = |row: &Value| !is_v6(row) || row["protocol"] != "kernel";
    all["route"].as_array_mut().unwrap().retain(counts);
    all
}

/// What somebody uses the link for besides: an IPv6 network of its own, with a way beyond it.
fn give_inet6(bench: &Bench, interface: &str) {
    bench.allow_inet6(interface);
    bench.on_a(&format!("address add {INET6} dev {interface} nodad"));
    bench.on_a(&format!("-6 route add fd99::/64 via fd25::2 dev {interface}"));
}

const INET6: &str = "fd25::1/64";

fn address_of(everything: &Value, link: &str) -> Vec<String> {
    let links = everything["address"].as_array().unwrap();
    let found = links.iter().find(|found| found["ifname"] == link).unwrap();
    let rows = found["addr_info"].as_array().unwrap().iter();
    rows.map(|row| format!("{}/{}", row["local"].as_str().unwrap(), row["prefixlen"])).collect()
}

/// Each cable has a /30 and the size that was asked for.
fn is_per_port(everything: &Value) -> bool {
    let links = everything["address"].as_array().unwrap();
    ports::CABLES.iter().all(|(name, _)| {
        let link = links.iter().find(|link| link["ifname"] == *name).unwrap();
        let nets = address_of(everything, name);
        let [net] = &nets[..] else { return false };
        net.starts_with("10.97.") && net.ends_with("/30") && link["mtu"] == 9000
    })
}

/// As after a restart: the cables know nothing of what was set up.
fn forget(bench: &Bench) {
    for (name, _) in ports::CABLES {
        bench.on_a(&format!("address flush dev {name}"));
        bench.on_a(&format!("link set {name} mtu 1500"));
    }
    bench.on_a(&format!("link set {CABLE} down"));
}

const NETWORKD: &str = "/lib/systemd/systemd-networkd";

/// Starts systemd-networkd, which reads its profiles in the folder `network` of the bench, and knows
/// the interface when this returns.
fn start_networkd<'a>(bench: &'a Bench, interface: &str) -> Daemon<'a> {
    tool(
        bench,
        "systemctl",
        "#!/bin/sh\n[ \"$*\" = \"is-active --quiet systemd-networkd.service\" ]\n",
    );
    let profiles = bench.dir.path().join("network");
    fs::create_dir_all(&profiles).unwrap();
    let script = format!(
        "mount --bind {} /etc/systemd/network && mkdir -p /run/systemd/netif && \
         chown systemd-network:systemd-network /run/systemd/netif && exec {NETWORKD}",
        profiles.display()
    );
    let daemon = Daemon::start(bench, &script);
    let status = || daemon.said(&["networkctl", "--no-pager", "status", interface]);
    daemon.wait_until("networkd", || status().contains("Setup") || status().contains("State:"));
    daemon
}

#[test]
fn systemd_networkd_takes_the_file_keeps_it_and_lets_go_of_it() {
    if !Path::new(NETWORKD).exists() {
        return skip("systemd-networkd");
    }
    let Some(bench) = Bench::new("real-networkd") else { return };
    bench.on_a(&format!("address add 10.9.0.1/24 dev {BRIDGE}"));
    give_inet6(&bench, BRIDGE);
    let daemon = start_networkd(&bench, BRIDGE);
    let profiles = bench.dir.path().join("network");
    let look = || json!({ "ip": everything(&bench), "files": files(&profiles) });
    let before = look();
    daemon.done(&["setup", "--yes", "--interface", BRIDGE, "--peer", "192.168.2.2"]);
    let kept = || {
        let status = daemon.said(&["networkctl", "--no-pager", "status", BRIDGE]);
        status.contains("10-tbnet-br0.network") && status.contains("(configured)")
    };
    daemon.wait_until("a link that networkd has configured", kept);
    let both = ["192.168.2.1/24", INET6];
    assert_eq!(address_of(&everything(&bench), BRIDGE), both, "{}", daemon.log());

    // As after a restart: nothing is there but the file.
    drop(daemon);
    bench.on_a(&format!("address flush dev {BRIDGE}"));
    bench.on_a(&format!("link set {BRIDGE} down"));
    let daemon = start_networkd(&bench, BRIDGE);
    let is_back = || address_of(&everything(&bench), BRIDGE) == both;
    daemon.wait_until("the address", is_back);

    daemon.done(&["setup", "--undo"]);
    bench.wait_carrier(0);
    assert_eq!(look(), before, "{}", daemon.log());
    // It stays so: networkd has nothing more to say about it.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(look(), before, "{}", daemon.log());
}

/// It takes routes away that it did not make: one that goes before another link's comes behind it.
#[test]
fn a_route_before_anothers_is_there_beside_systemd_networkd() {
    if !Path::new(NETWORKD).exists() {
        return skip("systemd-networkd");
    }
    let Some(bench) = ROUTE_STOLEN.bench("networkd-route") else { return };
    let daemon = start_networkd(&bench, BRIDGE);
    daemon.done(&["setup", "--yes", "--interface", BRIDGE, "--peer", PEER]);
    let profile = files(&bench.dir.path().join("network"));
    assert_eq!(profile.as_object().unwrap().len(), 1, "{}", daemon.log());
    // Networkd has had its say.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(bench.check(Some(PEER)), [] as [&str; 0], "{}", daemon.log());
}

#[test]
fn systemd_networkd_keeps_the_network_of_each_cable() {
    if !Path::new(NETWORKD).exists() {
        return skip("systemd-networkd");
    }
    let Some(bench) = Bench::new("networkd-ports") else { return };
    ports::lay_cables(&bench);
    per_port(&bench, || start_networkd(&bench, CABLE), &bench.dir.path().join("network"));
}

/// Each cable gets a network of its own, which comes back after a restart of the keeper that `start`
/// starts, until undo takes it away.
fn per_port<'a>(bench: &'a Bench, start: impl Fn() -> Daemon<'a>, profiles: &Path) {
    let daemon = start();
    let look = || json!({ "ip": everything(bench), "files": files(profiles) });
    let before = look();
    daemon.set_up_per_port();
    let is_so = || is_per_port(&everything(bench));
    daemon.wait_until("a network for each cable", is_so);
    assert_eq!(files(profiles).as_object().unwrap().len(), 2, "{}", daemon.log());

    drop(daemon);
    forget(bench);
    let daemon = start();
    daemon.wait_until("the networks, after a restart", is_so);

    daemon.done(&["setup", "--undo"]);
    daemon.wait_until("what was before", || look() == before);
    // It stays so.
    thread::sleep(Duration::from_secs(1));
    assert_eq!(look(), before, "{}", daemon.log());
}

/// The folder in which NetworkManager is, `/` if it is installed.
fn network_manager() -> Option<PathBuf> {
    let unpacked = env::var_os("EXO_TEST_NETWORK_MANAGER").map(PathBuf::from);
    let roots = unpacked.into_iter().chain([PathBuf::from("/")]);
    roots.into_iter().find(|root| root.join("usr/sbin/NetworkManager").exists())
}

/// Starts NetworkManager, which keeps its profiles in `profiles`.
fn start_manager<'a>(bench: &'a Bench, root: &Path, profiles: &Path) -> Daemon<'a> {
    let libraries = ["x86_64", "aarch64"]
        .map(|machine| root.join(format!("usr/lib/{machine}-linux-gnu")).display().to_string());
    let libraries = libraries.join(":");
    let shim = |program: &str| {
        let real = root.join(program);
        format!("#!/bin/sh\nLD_LIBRARY_PATH={libraries} exec {} \"$@\"\n", real.display())
    };
    tool(bench, "nmcli", &shim("usr/bin/nmcli"));
    tool(bench, "NetworkManager", &shim("usr/sbin/NetworkManager"));
    tool(bench, "systemctl", "#!/bin/sh\nexit 3\n");
    let config = bench.dir.path().join("NetworkManager.conf");
    fs::write(
        &config,
        format!(
            "[main]\nplugins=keyfile\ndns=none\nrc-manager=unmanaged\nauth-polkit=false\n\
             no-auto-default=*\n[keyfile]\npath={}\n",
            profiles.display()
        ),
    )
    .unwrap();
    let script = format!(
        "mount -t tmpfs tmpfs /var/lib && exec {} --no-daemon --config={} --config-dir=/run/none \
         --system-config-dir=/run/none",
        bench.dir.path().join("tools/NetworkManager").display(),
        config.display()
    );
    let daemon = Daemon::start(bench, &script);
    daemon.wait_until("NetworkManager", || {
        daemon.said(&["nmcli", "-g", "RUNNING", "general"]).trim() == "running"
            && daemon.said(&["nmcli", "-g", "STATE", "general"]).trim() != "connecting"
    });
    daemon
}

/// With NetworkManager, from a cable that somebody has given these addresses by hand.
fn manage(test: &str, by_hand: &[&str]) {
    let Some(root) = network_manager() else {
        return skip("NetworkManager (EXO_TEST_NETWORK_MANAGER)");
    };
    let Some(bench) = Bench::new(test) else { return };
    bench.on_a(&format!("link del {BRIDGE}"));
    for net in by_hand {
        bench.on_a(&format!("address add {net} dev {CABLE}"));
    }
    let mut kept = vec!["192.168.2.1/24"];
    if !by_hand.is_empty() {
        give_inet6(&bench, CABLE);
        kept.push(INET6);
    }
    let profiles = bench.dir.path().join("connections");
    fs::create_dir(&profiles).unwrap();
    let daemon = start_manager(&bench, &root, &profiles);
    let look = || json!({ "ip": everything(&bench), "files": files(&profiles) });
    let before = look();
    daemon.done(&["setup", "--yes", "--interface", CABLE, "--peer", "192.168.2.2"]);
    let active = |daemon: &Daemon<'_>| {
        daemon.said(&["nmcli", "-g", "GENERAL.CONNECTION", "device", "show", CABLE])
    };
    assert_eq!(active(&daemon).trim(), "tbnet-thunderbolt0", "{}", daemon.log());
    assert_eq!(address_of(&everything(&bench), CABLE), kept, "{}", daemon.log());

    // As after a restart: nothing is there but the profile.
    drop(daemon);
    bench.on_a(&format!("address flush dev {CABLE}"));
    let daemon = start_manager(&bench, &root, &profiles);
    daemon.wait_until("the addresses", || address_of(&everything(&bench), CABLE) == kept);

    daemon.done(&["setup", "--undo"]);
    assert_eq!(look(), before, "{}", daemon.log());
    thread::sleep(Duration::from_secs(1));
    assert_eq!(look(), before, "it stays so:\n{}", daemon.log());
}

#[test]
fn network_manager_takes_the_profile_keeps_it_and_lets_go_of_it() {
    manage("real-nm", &[]);
}

#[test]
fn network_manager_gives_back_what_was_set_by_hand() {
    manage("real-nm-by-hand", &["10.9.0.1/24", "10.8.0.1/24"]);
}

#[test]
fn network_manager_keeps_the_network_of_each_cable() {
    let Some(root) = network_manager() else {
        return skip("NetworkManager (EXO_TEST_NETWORK_MANAGER)");
    };
    let Some(bench) = Bench::new("nm-ports") else { return };
    ports::lay_cables(&bench);
    let profiles = bench.dir.path().join("connections");
    fs::create_dir(&profiles).unwrap();
    per_port(&bench, || start_manager(&bench, &root, &profiles), &profiles);
}
