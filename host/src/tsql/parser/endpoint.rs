//! CREATE and ALTER ENDPOINT … FOR DATABASE_MIRRORING.

use core::net::{IpAddr, Ipv4Addr};

use super::{Parsed, Parser};
use crate::tsql::ast::{
    Algorithm, AlterEndpoint, Authentication, CreateEndpoint, Encryption, EndpointRole, EndpointState,
    ListenerIp, MirroringOptions, Name, StatementKind, TcpOptions, WindowsMethod,
};
use crate::tsql::error::SyntaxError;
use crate::tsql::lexer::{Kind, Symbol};

/// The ports that an endpoint may listen on.
const PORTS: core::ops::RangeInclusive<u64> = 1024..=65535;

/// CREATE must say what ALTER may leave out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Create,
    Alter,
}

/// What both statements say.
#[derive(Default)]
struct Clauses {
    authorization: Option<(Name, u32)>,
    state: Option<EndpointState>,
    tcp: Option<TcpOptions>,
    mirroring: Option<MirroringOptions>,
}

impl Parser<'_> {
    pub(super) fn create_endpoint(&mut self) -> Parsed<StatementKind> {
        let line = self.line();
        let name = self.name("the name of the endpoint")?;
        let clauses = self.endpoint_clauses(Verb::Create)?;
        let statement = "CREATE ENDPOINT";
        let missing = |parameter| SyntaxError::missing_parameter(line, parameter, statement);
        let tcp = clauses.tcp.ok_or_else(|| missing("AS TCP"))?;
        let mirroring = clauses
            .mirroring
            .ok_or_else(|| missing("FOR DATABASE_MIRRORING"))?;
        if tcp.listener_port.is_none() {
            return Err(missing("LISTENER_PORT"));
        }
        if mirroring.role.is_none() {
            return Err(missing("ROLE"));
        }
        let authorization = clauses.authorization.map(|(owner, _)| owner);
        Ok(StatementKind::CreateEndpoint(CreateEndpoint {
            name,
            authorization,
            state: clauses.state,
            tcp,
            mirroring,
        }))
    }

    pub(super) fn alter_endpoint(&mut self) -> Parsed<StatementKind> {
        let name = self.name("the name of an endpoint")?;
        let clauses = self.endpoint_clauses(Verb::Alter)?;
        if let Some((_, line)) = clauses.authorization {
            // The owner is changed by ALTER AUTHORIZATION; the grammar elsewhere prints the clause all the same.
            return Err(SyntaxError::clause_not_allowed(
                line,
                "AUTHORIZATION",
                "ALTER ENDPOINT",
            ));
        }
        Ok(StatementKind::AlterEndpoint(AlterEndpoint {
            name,
            state: clauses.state,
            tcp: clauses.tcp.unwrap_or_default(),
            mirroring: clauses.mirroring.unwrap_or_default(),
        }))
    }

    /// `[AUTHORIZATION …] [STATE = …] AS TCP (…) FOR DATABASE_MIRRORING (…)`; all of it is optional for ALTER.
    fn endpoint_clauses(&mut self, verb: Verb) -> Parsed<Clauses> {
        let mut clauses = Clauses::default();
        let line = self.line();
        if let Some(owner) = self.authorization()? {
            clauses.authorization = Some((owner, line));
        }
        if self.accept("STATE") {
            self.equal()?;
            clauses.state = Some(self.choice(&[
                ("STARTED", EndpointState::Started),
                ("STOPPED", EndpointState::Stopped),
                ("DISABLED", EndpointState::Disabled),
            ])?);
        }
        if self.accept("AS") {
            clauses.tcp = Some(self.tcp_options()?);
        } else if verb == Verb::Create {
            return Err(self.unexpected("STATE or AS TCP"));
        }
        if self.accept("FOR") {
            clauses.mirroring = Some(self.payload()?);
        } else if verb == Verb::Create {
            return Err(self.unexpected("FOR DATABASE_MIRRORING"));
        }
        Ok(clauses)
    }

    fn tcp_options(&mut self) -> Parsed<TcpOptions> {
        let line = self.line();
        if self.accept("HTTP") {
            return Err(SyntaxError::not_supported(line, "AS HTTP", "Use AS TCP."));
        }
        self.expect("TCP")?;
        self.open()?;
        let mut options = TcpOptions::default();
        loop {
            let line = self.line();
            if self.accept("LISTENER_PORT") {
                self.equal()?;
                let port = self.integer("a port number")?;
                let in_range = PORTS.contains(&port);
                let Some(port) = u16::try_from(port).ok().filter(|_| in_range) else {
                    return Err(SyntaxError::out_of_range(line, "LISTENER_PORT", "1024 to 65535"));
                };
                self.once(&mut options.listener_port, port, "LISTENER_PORT", line)?;
            } else if self.accept("LISTENER_IP") {
                self.equal()?;
                let address = self.listener_ip()?;
                self.once(&mut options.listener_ip, address, "LISTENER_IP", line)?;
            } else {
                return Err(self.unexpected("LISTENER_PORT or LISTENER_IP"));
            }
            if self.options_end()? {
                return Ok(options);
            }
        }
    }

    /// Behind an option: a comma, which may be left out between options, or the end of the list.
    fn options_end(&mut self) -> Parsed<bool> {
        if self.accept_symbol(Symbol::Comma) {
            return Ok(false);
        }
        if self.accept_symbol(Symbol::Close) {
            return Ok(true);
        }
        if self.peek().kind == Kind::Word {
            Ok(false)
        } else {
            Err(self.unexpected(", or )"))
        }
    }

    fn listener_ip(&mut self) -> Parsed<ListenerIp> {
        if self.accept("ALL") {
            return Ok(ListenerIp::All);
        }
        let line = self.line();
        self.open()?;
        let address = if self.peek().kind == Kind::String {
            let text = self.string("an address")?;
            let address: IpAddr = text
                .value
                .trim()
                .parse()
                .map_err(|_| SyntaxError::bad_address(line))?;
            address
        } else {
            IpAddr::V4(self.ipv4()?)
        };
        self.close()?;
        Ok(ListenerIp::Address(address))
    }

    /// An IPv4 address is bare: `10.0.75.1`, which the lexer sees as numbers and points.
    fn ipv4(&mut self) -> Parsed<Ipv4Addr> {
        let line = self.line();
        let start = self.peek().span;
        if !matches!(self.peek().kind, Kind::Integer | Kind::Decimal) {
            return Err(self.unexpected("an IPv4 address, or an IPv6 address between quotes"));
        }
        while matches!(
            self.peek().kind,
            Kind::Integer | Kind::Decimal | Kind::Symbol(Symbol::Point)
        ) {
            self.advance();
        }
        let text = self.source(start.to(self.last_span()));
        text.parse().map_err(|_| SyntaxError::bad_address(line))
    }

    fn payload(&mut self) -> Parsed<MirroringOptions> {
        let line = self.line();
        for other in ["TSQL", "SERVICE_BROKER", "SOAP"] {
            if self.accept(other) {
                let instead = "Endpoints here are FOR DATABASE_MIRRORING.";
                return Err(SyntaxError::not_supported(line, &format!("FOR {other}"), instead));
            }
        }
        self.choice(&[("DATABASE_MIRRORING", ()), ("DATA_MIRRORING", ())])?;
        self.open()?;
        let mut options = MirroringOptions::default();
        loop {
            let line = self.line();
            if self.accept("AUTHENTICATION") {
                self.equal()?;
                let authentication = self.authentication()?;
                self.once(
                    &mut options.authentication,
                    authentication,
                    "AUTHENTICATION",
                    line,
                )?;
            } else if self.accept("ENCRYPTION") {
                self.equal()?;
                let encryption = self.encryption()?;
                self.once(&mut options.encryption, encryption, "ENCRYPTION", line)?;
            } else if self.accept("ROLE") {
                self.equal()?;
                let role = self.choice(&[
                    ("WITNESS", EndpointRole::Witness),
                    ("PARTNER", EndpointRole::Partner),
                    ("ALL", EndpointRole::All),
                ])?;
                self.once(&mut options.role, role, "ROLE", line)?;
            } else {
                return Err(self.unexpected("AUTHENTICATION, ENCRYPTION or ROLE"));
            }
            if self.options_end()? {
                return Ok(options);
            }
        }
    }

    fn authentication(&mut self) -> Parsed<Authentication> {
        if self.accept("CERTIFICATE") {
            let certificate = self.name("the name of a certificate")?;
            if self.accept("WINDOWS") {
                return Ok(Authentication::CertificateThenWindows(
                    certificate,
                    self.windows_method(),
                ));
            }
            return Ok(Authentication::Certificate(certificate));
        }
        if !self.accept("WINDOWS") {
            return Err(self.unexpected("CERTIFICATE or WINDOWS"));
        }
        let method = self.windows_method();
        if self.accept("CERTIFICATE") {
            let certificate = self.name("the name of a certificate")?;
            return Ok(Authentication::WindowsThenCertificate(method, certificate));
        }
        Ok(Authentication::Windows(method))
    }

    fn windows_method(&mut self) -> WindowsMethod {
        if self.accept("NTLM") {
            WindowsMethod::Ntlm
        } else if self.accept("KERBEROS") {
            WindowsMethod::Kerberos
        } else {
            self.accept("NEGOTIATE");
            WindowsMethod::Negotiate
        }
    }

    fn encryption(&mut self) -> Parsed<Encryption> {
        if self.accept("DISABLED") {
            return Ok(Encryption::Disabled);
        }
        let required = self.choice(&[("REQUIRED", true), ("SUPPORTED", false)])?;
        let algorithm = if self.accept("ALGORITHM") {
            let aes_first = self.choice(&[("AES", true), ("RC4", false)])?;
            Some(
                match (aes_first, self.accept(if aes_first { "RC4" } else { "AES" })) {
                    (true, false) => Algorithm::Aes,
                    (true, true) => Algorithm::AesRc4,
                    (false, false) => Algorithm::Rc4,
                    (false, true) => Algorithm::Rc4Aes,
                },
            )
        } else {
            None
        };
        Ok(if required {
            Encryption::Required(algorithm)
        } else {
            Encryption::Supported(algorithm)
        })
    }
}
