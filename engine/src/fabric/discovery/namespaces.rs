//! Discovery over real interfaces: network namespaces stand for machines, a veth pair called
//! `thunderbolt0` for the cable, another one called `wifi0` for the network that must stay silent.
//!
//! Each test runs itself again in a namespace of its own, as its root but without privileges
//! outside. So nothing outlives it, whatever happens, and no name or port can be taken.

use std::{
    fs,
    io::Write,
    net::UdpSocket,
    process::{Command, Stdio},
    thread,
};

use crossbeam::channel::bounded;
use exo_netconfig::InterfaceChoice;
use nix::sched::{CloneFlags, unshare};

use super::*;

/// Set in the process that runs inside.
const INSIDE: &str = "EXO_TEST_INSIDE_NAMESPACE";
/// How long two nodes may take to find each other.
const FIND_WITHIN: Duration = Duration::from_secs(3);

/// Runs `test`, the body of the test called `name`, in a new network namespace.
fn isolated(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let quiet = |command: &mut Command| {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    // As an ordinary user, or (where user namespaces are forbidden) as root.
    let ways: [&[&str]; 2] = [&["--user", "--map-root-user", "--net"], &["--net"]];
    let adds = "ip link add probe type veth peer name probe2 && \
                echo 1 > /proc/sys/net/ipv6/conf/probe/disable_ipv6";
    let way = ways
        .into_iter()
        .find(|way| quiet(Command::new("unshare").args(*way).args(["sh", "-c", adds])));
    let Some(way) = way else {
        // Past libtest, which keeps back what a passing test prints.
        writeln!(
            io::stderr(),
            "skipped: needs `unshare`, `ip` and network namespaces (root or user namespaces): {name}"
        )
        .unwrap();
        return;
    };
    let module = module_path!().split_once("::").expect("the crate comes first").1;
    let status = Command::new("unshare")
        .args(way)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{name}"), "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed inside its namespace (see above)");
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own: a machine.
struct Machine {
    jobs: Sender<Job>,
    task: String,
}

impl Machine {
    fn boot() -> Self {
        let (jobs, todo) = bounded::<Job>(1);
        let (ready, booted) = bounded(1);
        thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace of its own");
            let task = fs::read_link("/proc/thread-self").unwrap();
            ready.send(task.file_name().unwrap().to_str().unwrap().to_owned()).unwrap();
            todo.into_iter().for_each(|job| job());
        });
        let machine = Self { jobs, task: booted.recv().unwrap() };
        // Else the kernel greets every new interface with packets of its own.
        machine.run(|| fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap());
        machine
    }

    /// Runs `job` on this machine; threads and processes that it starts stay there.
    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = bounded(1);
        self.jobs.send(Box::new(move || done.send(job()).unwrap())).unwrap();
        result.recv().expect("the job has not panicked")
    }

    fn ip(&self, arguments: &str) {
        let arguments = arguments.to_owned();
        self.run(move || {
            let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "ip {arguments}: {error}");
        });
    }

    /// Joins this machine and another one by a pair of interfaces of the same name.
    fn join(&self, other: &Self, interface: &str, addresses: [&str; 2]) {
        let peer = &other.task;
        self.ip(&format!("link add {interface} type veth peer name {interface} netns {peer}"));
        for (machine, address) in [self, other].into_iter().zip(addresses) {
            if address.contains(':') {
                let file = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
                machine.run(move || fs::write(file, "0").unwrap());
                machine.ip(&format!("link set {interface} addrgenmode none up"));
                machine.ip(&format!("address add {address} dev {interface} nodad"));
            } else {
                machine.ip(&format!("address add {address} dev {interface}"));
                machine.ip(&format!("link set {interface} up"));
            }
        }
    }

    /// The link, as soon as the kernel holds its address to be usable.
    fn link(&self, interface: &str) -> Link {
        let choice = InterfaceChoice::Named(interface.into());
        self.run(move || {
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                match Link::open(&choice) {
                    Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
                    outcome => return outcome,
                }
            }
        })
        .unwrap()
    }

    /// Packets that ever left on an interface.
    fn sent_packets(&self, interface: &str) -> u64 {
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/dev").unwrap());
        let row = table.lines().find_map(|row| row.trim().strip_prefix(interface)).unwrap();
        // Received: bytes, packets and six more columns; then sent: bytes, packets.
        row.trim_start_matches(':').split_whitespace().nth(9).unwrap().parse().unwrap()
    }

    fn discover(&self, link: &Link, node: u8, port: u16) -> (Discovery, Receiver<Found>) {
        let me = Announcement {
            node: NodeId::from_bytes([node; 16]),
            name: format!("machine-{node}"),
            port,
            addresses: vec![link.address()],
        };
        let (found, finds) = bounded(16);
        let link = link.clone();
        (self.run(move || Discovery::start(&link, me, found)).unwrap(), finds)
    }
}

/// Waits for a report about exactly this node at exactly this address.
fn expect(finds: &Receiver<Found>, node: u8, addr: &str) {
    let wanted = Found {
        node: NodeId::from_bytes([node; 16]),
        name: format!("machine-{node}"),
        addr: addr.parse().unwrap(),
    };
    let deadline = Instant::now() + FIND_WITHIN;
    loop {
        match finds.recv_deadline(deadline) {
            Ok(found) if found == wanted => return,
            Ok(_) => {}
            Err(error) => panic!("{wanted:?} was not found within {FIND_WITHIN:?}: {error}"),
        }
    }
}

#[test]
fn two_machines_find_each_other_over_the_cable_and_not_one_packet_leaves_elsewhere() {
    isolated(
        "two_machines_find_each_other_over_the_cable_and_not_one_packet_leaves_elsewhere",
        || {
            let (one, two) = (Machine::boot(), Machine::boot());
            one.join(&two, "thunderbolt0", ["192.168.2.1/24", "192.168.2.2/24"]);
            one.join(&two, "wifi0", ["10.77.0.1/24", "10.77.0.2/24"]);
            // Whatever asks the routing table goes astray.
            one.ip("route add default dev wifi0");
            two.ip("route add default dev wifi0");
            let silent = || assert_eq!([&one, &two].map(|m| m.sent_packets("wifi0")), [0, 0]);

            let (first, finds_one) = one.discover(&one.link("thunderbolt0"), 1, 5201);
            let (second, finds_two) = two.discover(&two.link("thunderbolt0"), 2, 5202);
            expect(&finds_one, 2, "192.168.2.2:5202");
            expect(&finds_two, 1, "192.168.2.1:5201");
            silent();

            // The first one goes, and comes back on another port.
            drop(first);
            let (first, finds_one) = one.discover(&one.link("thunderbolt0"), 1, 5301);
            expect(&finds_one, 2, "192.168.2.2:5202");
            expect(&finds_two, 1, "192.168.2.1:5301");

            // The cable is off for longer than two attempts to open the socket again.
            one.ip("link set thunderbolt0 down");
            thread::sleep(Duration::from_millis(2500));
            silent();
            while finds_one.try_recv().is_ok() || finds_two.try_recv().is_ok() {}
            one.ip("link set thunderbolt0 up");
            first.link_changed(one.link("thunderbolt0"));
            expect(&finds_one, 2, "192.168.2.2:5202");
            expect(&finds_two, 1, "192.168.2.1:5301");

            // Hot-plug: the same name and addresses, another index.
            let old = one.link("thunderbolt0");
            one.ip("link delete thunderbolt0");
            one.join(&two, "thunderbolt0", ["192.168.2.1/24", "192.168.2.2/24"]);
            let new = one.link("thunderbolt0");
            assert_ne!(old.index(), new.index());
            while finds_one.try_recv().is_ok() || finds_two.try_recv().is_ok() {}
            first.link_changed(new);
            second.link_changed(two.link("thunderbolt0"));
            expect(&finds_one, 2, "192.168.2.2:5202");
            expect(&finds_two, 1, "192.168.2.1:5301");

            drop((first, second));
            silent();
            for machine in [&one, &two] {
                assert!(machine.sent_packets("thunderbolt0") > 0);
            }
            // The counter counts: an ordinary socket shows up in it.
            one.run(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.send_to(b"astray", "10.77.0.2:9").unwrap();
            });
            assert_ne!(one.sent_packets("wifi0"), 0);
        },
    );
}

#[test]
fn a_link_without_ipv4_does_it_by_ipv6() {
    isolated("a_link_without_ipv4_does_it_by_ipv6", || {
        let (one, two) = (Machine::boot(), Machine::boot());
        one.join(&two, "thunderbolt0", ["fe80::1/64", "fe80::2/64"]);
        one.join(&two, "wifi0", ["10.77.0.1/24", "10.77.0.2/24"]);
        let links = [&one, &two].map(|machine| machine.link("thunderbolt0"));
        let (_first, finds_one) = one.discover(&links[0], 1, 5201);
        let (_second, finds_two) = two.discover(&links[1], 2, 5202);
        expect(&finds_one, 2, &format!("[fe80::2%{}]:5202", links[0].index()));
        expect(&finds_two, 1, &format!("[fe80::1%{}]:5201", links[1].index()));
        assert_eq!([&one, &two].map(|m| m.sent_packets("wifi0")), [0, 0]);
    });
}

#[test]
fn two_nodes_of_one_machine_find_each_other_on_loopback() {
    isolated("two_nodes_of_one_machine_find_each_other_on_loopback", || {
        let machine = Machine::boot();
        machine.ip("link set lo up");
        let link = machine.link("lo");
        let (_first, finds_one) = machine.discover(&link, 1, 5201);
        let (_second, finds_two) = machine.discover(&link, 2, 5202);
        expect(&finds_one, 2, "127.0.0.1:5202");
        expect(&finds_two, 1, "127.0.0.1:5201");
    });
}

#[test]
fn what_cannot_be_announced_is_refused_with_a_hint() {
    isolated("what_cannot_be_announced_is_refused_with_a_hint", || {
        let machine = Machine::boot();
        machine.ip("link set lo up");
        let link = machine.link("lo");
        let me = |name: &str, port| Announcement {
            node: NodeId::from_bytes([1; 16]),
            name: name.into(),
            port,
            addresses: vec![],
        };
        let start = |me: Announcement| {
            let link = link.clone();
            let error = machine.run(move || Discovery::start(&link, me, bounded(1).0)).unwrap_err();
            format!("{error}; hint: {}", error.hint())
        };
        assert!(start(me("studio", 0)).contains("port 0"));
        assert!(start(me("", 1)).contains("--name"));
        assert!(start(me("a\nb", 1)).contains("--name"));
        // Somebody holds the port and does not share it.
        let holder = machine.run(|| UdpSocket::bind("0.0.0.0:5353").unwrap());
        let refused = start(me("studio", 1));
        assert!(refused.contains("lo: cannot bind the mDNS port"), "{refused}");
        assert!(refused.contains("--peer HOST:PORT"), "{refused}");
        drop(holder);
        // The interface is gone by the time the socket is opened.
        let other = Machine::boot();
        machine.join(&other, "thunderbolt0", ["192.168.2.1/24", "192.168.2.2/24"]);
        let gone = machine.link("thunderbolt0");
        machine.ip("link delete thunderbolt0");
        let refused = machine
            .run(move || Discovery::start(&gone, me("studio", 1), bounded(1).0))
            .unwrap_err()
            .to_string();
        assert!(refused.contains("thunderbolt0: No such device"), "{refused}");
    });
}
