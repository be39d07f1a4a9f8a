//! What the handle's calls about the instance, its endpoint and its connections do.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant as Clock};

use dbmirror_adapters::address::ServerAddress;
use dbmirror_adapters::blocklog::{BlockLog, Options, Recovery};
use dbmirror_core::channel::{Encryption, ServerOptions};
use dbmirror_core::endpoint::{self, Config, ConnectionId, Limits};
use dbmirror_core::message::{Address, InstanceId, InstanceName};

use super::records::Records;
use super::run::{self, Handle, Instance};
use super::storage::Logs;
use super::world::{Probe, Site};
use super::{
    ConnectionState, ConnectionView, EndpointConfig, EngineConfig, EngineError, LoginState, Notices,
    PeerSelector, TestStep,
};

/// How long a test waits for the next step: longer than connecting and shaking hands may take.
const STEP: Duration = Duration::from_secs(20);

/// Opens log and records, and starts the loop.
pub(super) fn start(
    config: &EngineConfig,
    notices: Arc<dyn Notices>,
) -> Result<(Handle, JoinHandle<()>), EngineError> {
    let failed = |what: &str, e: String| EngineError::new(1401, format!("{what} could not be opened: {e}."));
    let records = Records::open(&config.dir)?;
    let boot = records.raise_boot()?;
    let core = Config {
        instance: InstanceId(config.instance_id),
        name: InstanceName::new(&config.instance_name)
            .map_err(|_| EngineError::new(1401, "The instance's name is too long."))?,
        boot,
        limits: Limits::default(),
    };
    let dir = config.dir.join("blocks");
    run::spawn(core, move |handle| {
        let to_loop = handle.clone();
        let on_durable = Box::new(move |batch| to_loop.run(move |i: &mut Instance<'_>| i.durable(batch)));
        let (log, recovery) = BlockLog::open(&dir, Options::default(), on_durable)
            .map_err(|e| failed("The block log", e.to_string()))?;
        let mut logs = Logs::new(Arc::new(log), Arc::new(Mutex::new(records)), Arc::clone(&notices));
        logs.lost.clone_from(&recovery.lost);
        let site = Site::new(logs, notices, handle);
        report_recovery(&site, &recovery);
        Ok(site)
    })
}

fn report_recovery(site: &Site, recovery: &Recovery) {
    if !recovery.damaged.is_empty() {
        let places: Vec<String> = recovery
            .damaged
            .iter()
            .map(|(s, o)| format!("{s:08x}.seg:{o}"))
            .collect();
        let lost: u64 = recovery.unreachable.values().sum();
        site.log_own(
            17,
            format!(
                "The block log is damaged at {}; {lost} blocks behind that can not be used. What partners hold is fetched again. Check \
                 the disk.",
                places.join(", ")
            ),
        );
    }
}

impl Instance<'_> {
    /// Ends the loop; what the databases' threads have captured is on disk first.
    pub(super) fn stop(&mut self) {
        let now = self.now();
        self.driver.stop_listening();
        self.endpoint.set_running(&mut self.world.env_at(now), false);
        self.settle();
        for database in self.world.logs.databases.values() {
            database.worker.stop();
        }
        self.world.logs.databases.clear();
        let _ = self.world.logs.log.wait_all();
        self.stopping = true;
    }

    pub(super) fn start_endpoint(&mut self, config: &EndpointConfig) -> Result<SocketAddr, EngineError> {
        if self.world.address.is_some() {
            self.stop_endpoint()?;
        }
        self.world.catalog.set_identity(&config.identity)?;
        let wanted = SocketAddr::new(config.bind, config.port);
        let address = self.driver.listen(wanted).map_err(|e| {
            self.world.catalog.clear_identity();
            if e.kind() == std::io::ErrorKind::AddrInUse {
                EngineError::new(
                    9692,
                    format!(
                        "The endpoint can not listen on {wanted}: the port is in use by another process."
                    ),
                )
            } else {
                EngineError::new(9693, format!("The endpoint can not listen on {wanted}: {e}."))
            }
        })?;
        self.world.address = Some(address);
        self.set_role(config.role.into());
        self.set_encryption(config.encryption);
        let now = self.now();
        self.endpoint.set_running(&mut self.world.env_at(now), true);
        self.world.log(
            9690,
            10,
            format!("The Database Mirroring endpoint is now listening for connections on {address}."),
            Vec::new(),
        );
        Ok(address)
    }

    /// What channels are made with from now on. Returns how many that stand were closed because they could not be made any more.
    pub(super) fn set_encryption(&mut self, encryption: Encryption) -> usize {
        let now = self.now();
        let options = ServerOptions {
            encryption,
            aes_256: true,
            hybrid: true,
            ..ServerOptions::default()
        };
        self.endpoint.set_channels(&mut self.world.env_at(now), options)
    }

    pub(super) fn stop_endpoint(&mut self) -> Result<(), EngineError> {
        if self.world.address.take().is_none() {
            return Err(not_started());
        }
        let now = self.now();
        self.driver.stop_listening();
        self.endpoint.set_running(&mut self.world.env_at(now), false);
        self.settle();
        self.world.catalog.clear_identity();
        let text = "The Database Mirroring endpoint has stopped listening for connections.";
        self.world.log(9691, 10, text.into(), Vec::new());
        Ok(())
    }

    pub(super) fn close_connections_of(&mut self, peer: PeerSelector) -> usize {
        let now = self.now();
        self.endpoint
            .revoke(&mut self.world.env_at(now), |login, certificate| match peer {
                PeerSelector::Login(id) => login.cast_signed() == id,
                PeerSelector::Certificate(id) => certificate.cast_signed() == id,
            })
    }

    pub(super) fn connection_views(&mut self) -> Vec<ConnectionView> {
        let views: Vec<endpoint::ConnectionView> = self.endpoint.connections().collect();
        views
            .into_iter()
            .filter_map(|v| {
                let peer_address = self.driver.peer(v.connection)?;
                let (connection_id, transport_stream_id) = self.world.guids_of(v.connection);
                Some(ConnectionView {
                    connection_id,
                    transport_stream_id,
                    state: connection_state(v.state),
                    login_state: login_state(v.login_state),
                    connect_time: self.system_time(v.connect_time),
                    login_time: v.login_time.map(|at| self.system_time(at)),
                    last_activity_time: self.system_time(v.last_activity),
                    is_accept: v.accepted,
                    peer_address,
                    principal_name: v
                        .login
                        .and_then(|l| self.world.catalog.login_name(l))
                        .map(str::to_owned),
                    login_id: v.login.map(u32::cast_signed),
                    peer_certificate_id: v.certificate.map(u32::cast_signed),
                    encryption_algorithm: v.suite.map(|suite| if suite.encrypts() { 2 } else { 0 }),
                    peer_arbitration_id: v.instance.map(|i| i.0),
                    is_send_flow_controlled: self.driver.is_send_blocked(v.connection),
                    is_receive_flow_controlled: false,
                    total_bytes_sent: v.bytes_sent,
                    total_bytes_received: v.bytes_received,
                    total_sends: v.sends,
                    total_receives: v.receives,
                })
            })
            .collect()
    }
}

const fn connection_state(state: endpoint::ConnectionState) -> ConnectionState {
    match state {
        endpoint::ConnectionState::New => ConnectionState::New,
        endpoint::ConnectionState::Connecting => ConnectionState::Connecting,
        endpoint::ConnectionState::Connected => ConnectionState::Connected,
        endpoint::ConnectionState::LoggedIn => ConnectionState::LoggedIn,
        endpoint::ConnectionState::Closed => ConnectionState::Closed,
    }
}

const fn login_state(state: endpoint::LoginState) -> LoginState {
    match state {
        endpoint::LoginState::Initial => LoginState::Initial,
        endpoint::LoginState::WaitLoginNegotiate => LoginState::WaitLoginNegotiate,
        endpoint::LoginState::WaitValidation => LoginState::WaitValidation,
        endpoint::LoginState::WaitArbitration => LoginState::WaitArbitration,
        endpoint::LoginState::Online => LoginState::Online,
        endpoint::LoginState::Error => LoginState::Error,
    }
}

pub(super) fn not_started() -> EngineError {
    EngineError::new(
        9666,
        "The database mirroring endpoint is not started. CREATE ENDPOINT or ALTER ENDPOINT … STATE = STARTED first.",
    )
}

/// An address as the endpoint takes it.
///
/// # Errors
/// 1449.
pub(super) fn parse_address(text: &str) -> Result<Address, EngineError> {
    ServerAddress::parse(text).ok().and_then(|_| Address::new(text).ok()).ok_or_else(|| {
        EngineError::new(
            1449,
            format!("'{text}' is not a server network address. Write TCP://host:port, with the partner's endpoint port."),
        )
    })
}

/// Dials, reports each step, and keeps the connection for `hold`.
pub(super) fn test_connection(
    handle: &Handle,
    address: &str,
    hold: Duration,
    report: &mut dyn FnMut(TestStep),
) -> Result<(), EngineError> {
    let target = parse_address(address)?;
    let (sender, steps) = channel();
    let span =
        dbmirror_core::time::Duration::from_micros(u64::try_from(hold.as_micros()).unwrap_or(u64::MAX));
    let id = handle.ask(move |i: &mut Instance<'_>| -> Result<ConnectionId, EngineError> {
        if i.world.address.is_none() {
            return Err(not_started());
        }
        let now = i.now();
        let id = i
            .endpoint
            .test_connection(&mut i.world.env_at(now), target, span)
            .map_err(|_| {
                EngineError::new(
                    1418,
                    "No more connections can be opened: the endpoint is full. Try again.",
                )
            })?;
        i.world.probes.insert(id, sender);
        Ok(id)
    })??;
    let end = move |i: &mut Instance<'_>| {
        let now = i.now();
        i.world.probes.remove(&id);
        i.endpoint.disconnect(&mut i.world.env_at(now), id);
    };
    let mut online = None;
    loop {
        let wait = online.map_or(STEP, |until: Clock| until.saturating_duration_since(Clock::now()));
        match steps.recv_timeout(wait) {
            Ok(Probe::Step(step)) => report(step),
            Ok(Probe::Online) => online = Some(Clock::now() + hold),
            Ok(Probe::Failed(error)) => return Err(error),
            // Core ends it itself when the time is over.
            Err(_) if online.is_some() => break,
            Err(_) => {
                handle.run(end);
                return Err(EngineError::new(
                    1418,
                    format!(
                        "The server network address '{address}' did not answer within {} seconds.",
                        STEP.as_secs()
                    ),
                ));
            }
        }
    }
    handle.run(end);
    if !hold.is_zero() {
        report(TestStep {
            step: "hold".into(),
            ok: true,
            text: format!("the connection was held for {} seconds", hold.as_secs()),
        });
    }
    Ok(())
}
