//! Several servers that belong together.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use super::{ask, beside};
use crate::harness::engines::{REDIS_PING, find, skip};
use crate::harness::process::{Place, Server, Spec, free_port};

/// How long servers may take to find each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
#[track_caller]
pub(super) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn url(server: &Server) -> String {
    format!("redis://{}/", server.address())
}

/// A server without persistence, with additional arguments.
fn server(arguments: &[&str]) -> Result<Server, String> {
    let program = find(&["redis-server", "valkey-server"])?;
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let run = move |place: &Place| {
        let mut command = Command::new(&program);
        command.args(["--port", &place.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(&place.directory).args(["--repl-diskless-sync-delay", "0", "--databases", "1"]).args(&arguments);
        command
    };
    Ok(Server::start(Spec { name: "redis", prepare: None, run: Box::new(run), ping: REDIS_PING }))
}

/// Returns a section of the server's `INFO`.
fn info(server: &Server, section: &str) -> String {
    match redis::Client::open(url(server)).unwrap().get_connection() {
        Ok(mut connection) => {
            let words: Vec<&str> = section.split(' ').collect();
            redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).unwrap_or_default()
        }
        Err(_) => String::new(),
    }
}

/// Three masters with a replica each.
#[cfg(feature = "redis-cluster")]
pub(super) struct Cluster {
    pub(super) nodes: Vec<Server>,
}

#[cfg(feature = "redis-cluster")]
impl Cluster {
    pub(super) fn start() -> Option<Self> {
        Self::try_start().map_err(|why| skip("redis cluster", &why)).ok()
    }

    fn try_start() -> Result<Self, String> {
        let cli = find(&["redis-cli", "valkey-cli"])?;
        let node = || {
            let port = free_port().to_string();
            server(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", &port])
        };
        let nodes = (0..6).map(|_| node()).collect::<Result<Vec<_>, _>>()?;
        let cluster = Self { nodes };
        let addresses = cluster.nodes.iter().map(|node| node.address().to_string());
        let mut create = Command::new(cli);
        create.args(["--cluster", "create"]).args(addresses).args(["--cluster-replicas", "1", "--cluster-yes"]);
        let output = create.output().map_err(|error| error.to_string())?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        cluster.wait_until_whole();
        Ok(cluster)
    }

    /// Waits until all nodes are up and agree, and each replica follows its master.
    pub(super) fn wait_until_whole(&self) {
        wait_until("the cluster's coming together", || {
            self.nodes.iter().all(|node| {
                let (cluster, replication) = (info(node, "CLUSTER INFO"), info(node, "INFO replication"));
                cluster.contains("cluster_state:ok")
                    && cluster.contains("cluster_known_nodes:6")
                    && (replication.contains("master_link_status:up") || replication.contains("connected_slaves:1"))
            })
        });
    }

    pub(super) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(url).collect()
    }

    pub(super) fn masters(&self) -> Vec<&Server> {
        self.nodes.iter().filter(|node| info(node, "INFO replication").contains("role:master")).collect()
    }
}

/// A master, two replicas, and three Sentinels, of which two have to agree.
#[cfg(feature = "redis-sentinel")]
pub(super) struct Watched {
    pub(super) servers: Vec<Server>,
    pub(super) sentinels: Vec<Server>,
}

#[cfg(feature = "redis-sentinel")]
impl Watched {
    /// The name of the master in the Sentinels.
    pub(super) const NAME: &str = "sessions";

    pub(super) fn start() -> Option<Self> {
        Self::try_start().map_err(|why| skip("redis sentinel", &why)).ok()
    }

    fn try_start() -> Result<Self, String> {
        let master = server(&[])?;
        let port = master.address().port();
        let mut servers = vec![master];
        for _ in 0..2 {
            servers.push(server(&["--replicaof", &format!("127.0.0.1 {port}")])?);
        }
        wait_until("replication", || info(&servers[0], "INFO replication").contains("connected_slaves:2"));
        let sentinels = (0..3).map(|_| sentinel(port)).collect::<Result<Vec<_>, _>>()?;
        let watched = Self { servers, sentinels };
        watched.wait_until_whole();
        Ok(watched)
    }

    /// Waits until all Sentinels know each other and two live replicas.
    pub(super) fn wait_until_whole(&self) {
        wait_until("the sentinels' coming together", || {
            let knows_all = |sentinel: &Server| info(sentinel, "INFO sentinel").contains("status=ok");
            let is_whole = |sentinel: &Server| info(sentinel, "INFO sentinel").contains("slaves=2,sentinels=3");
            let are_linked = self.servers.iter().all(|server| {
                let replication = info(server, "INFO replication");
                replication.contains("master_link_status:up") || replication.contains("connected_slaves:2")
            });
            are_linked && self.sentinels.iter().all(|sentinel| knows_all(sentinel) && is_whole(sentinel))
        });
    }

    pub(super) fn client(&self) -> redis::sentinel::SentinelClient {
        let sentinels = self.sentinels.iter().map(url).collect();
        let kind = redis::sentinel::SentinelServerType::Master;
        redis::sentinel::SentinelClient::build(sentinels, Self::NAME.to_owned(), None, kind).unwrap()
    }

    /// Returns the current master by the Sentinels.
    pub(super) fn master(&self) -> &Server {
        let mut sentinel = beside(&url(&self.sentinels[0]));
        let command = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {}", Self::NAME);
        let (_, port): (String, u16) = ask(&mut sentinel, &command);
        self.servers.iter().find(|server| server.address().port() == port).unwrap()
    }
}

#[cfg(feature = "redis-sentinel")]
fn sentinel(master: u16) -> Result<Server, String> {
    let program = find(&["redis-server", "valkey-server"])?;
    let run = move |place: &Place| {
        let (file, name) = (place.directory.join("sentinel.conf"), Watched::NAME);
        let text = format!(
            "port {}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {name} 2000\nsentinel failover-timeout {name} 10000\n",
            place.port
        );
        fs::write(&file, text).unwrap();
        // A Sentinel rewrites its configuration file, possibly as another user than the tests.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let mut command = Command::new(&program);
        command.arg(file).arg("--sentinel");
        command
    };
    Ok(Server::start(Spec { name: "redis", prepare: None, run: Box::new(run), ping: REDIS_PING }))
}
