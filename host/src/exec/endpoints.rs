//! CREATE, ALTER and DROP ENDPOINT.
//!
//! What can run, runs before the statement is committed: a port that is taken refuses the statement, and nothing is
//! changed. What this release cannot run is stored and shown as it was written, STOPPED, and the client is told why.

use dbmirror_core::channel::Encryption::Disabled;
use rusqlite::Connection;

use super::{Done, Out, SqlSession, Stop};
use crate::catalog::endpoints::{self, Endpoint};
use crate::catalog::{MASTER_ID, SA_ID, certificates, principals};
use crate::instance::endpoint::{DISABLED, STARTED, STOPPED, config, encryption, identity, obstacle};
use crate::messages::{M7801, M7862, M7863, M7869, M15151, M50102, M50104, M50105};
use crate::tsql::ast::{
    Algorithm, AlterEndpoint, Authentication, CreateEndpoint, Encryption, EndpointRole, EndpointState,
    ListenerIp, MirroringOptions, Name, TcpOptions, WindowsMethod,
};

/// WINDOWS NEGOTIATE.
const DEFAULT_AUTHENTICATION: i32 = 3;
/// REQUIRED ALGORITHM AES.
const DEFAULT_ENCRYPTION: i32 = 2;
/// Beginnings of names that belong to the system.
const RESERVED: &[&str] = &["##", "TSQL ", "Dedicated Admin"];

impl SqlSession {
    pub(super) fn create_endpoint(&mut self, create: &CreateEndpoint, out: &mut Out<'_>) -> Done {
        let name = &create.name.value;
        if RESERVED.iter().any(|prefix| {
            name.get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        }) {
            return Err(M7869.refuse(&[name]).into());
        }
        let notes = self.change(|catalog| {
            if let Some(found) = endpoints::mirroring(catalog)? {
                return Err(M7862.refuse(&[&found.name]).into());
            }
            let owner = match &create.authorization {
                None => SA_ID,
                Some(login) => {
                    principals::login(catalog, &login.value)?
                        .ok_or_else(|| M15151.refuse(&[&"find", &"login", &login.value]))?
                        .id
                }
            };
            let mut endpoint = Endpoint {
                id: 0,
                name: name.clone(),
                principal_id: owner,
                state: STOPPED,
                stopped_reason: None,
                port: create
                    .tcp
                    .listener_port
                    .ok_or_else(|| M7801.refuse(&[&"LISTENER_PORT"]))?,
                ip_address: None,
                role: 0,
                connection_auth: DEFAULT_AUTHENTICATION,
                certificate_id: 0,
                encryption_algorithm: DEFAULT_ENCRYPTION,
            };
            if create.mirroring.role.is_none() {
                return Err(M7801.refuse(&[&"ROLE"]).into());
            }
            set(catalog, &mut endpoint, &create.tcp, &create.mirroring)?;
            endpoint.state = create.state.map_or(STOPPED, state_code);
            self.put(catalog, None, endpoint)
        })?;
        report(&notes, out)
    }

    pub(super) fn alter_endpoint(&mut self, alter: &AlterEndpoint, out: &mut Out<'_>) -> Done {
        let name = &alter.name.value;
        let nothing = alter.state.is_none()
            && alter.tcp == TcpOptions::default()
            && alter.mirroring.authentication.is_none()
            && alter.mirroring.encryption.is_none()
            && alter.mirroring.role.is_none();
        let notes = self.change(|catalog| {
            let before = endpoints::by_name(catalog, name)?
                .ok_or_else(|| M15151.refuse(&[&"alter", &"endpoint", name]))?;
            if nothing {
                return Err(M7863.refuse(&[name]).into());
            }
            let mut endpoint = before.clone();
            set(catalog, &mut endpoint, &alter.tcp, &alter.mirroring)?;
            if let Some(state) = alter.state {
                endpoint.state = state_code(state);
            }
            endpoint.stopped_reason = None;
            self.put(catalog, Some(before), endpoint)
        })?;
        report(&notes, out)
    }

    pub(super) fn drop_endpoint(&mut self, name: &Name) -> Done {
        let name = &name.value;
        self.change(|catalog| {
            let endpoint = endpoints::by_name(catalog, name)?
                .ok_or_else(|| M15151.refuse(&[&"drop", &"endpoint", name]))?;
            Ok(endpoints::delete(catalog, endpoint.id)?)
        })?;
        // It may not have been listening.
        let _ = self.instance.engine().stop_endpoint();
        self.refresh_pins()
    }

    /// Stores `endpoint` and lets it run, or not, as it says. When it cannot listen the one that ran `before` is started
    /// again. Returns what the client is to be told.
    fn put(
        &self,
        catalog: &Connection,
        before: Option<Endpoint>,
        mut endpoint: Endpoint,
    ) -> Result<Vec<crate::messages::Raised>, Stop> {
        // A certificate that could not be used is refused also where the endpoint does not start yet.
        if endpoint.certificate_id != 0 {
            identity(&self.instance, catalog, endpoint.certificate_id)?;
        }
        let mut notes = Vec::new();
        if endpoint.state != STOPPED
            && let Some(reason) = obstacle(&endpoint)
        {
            if endpoint.state == STARTED {
                endpoint.state = STOPPED;
            }
            endpoint.stopped_reason = Some(reason.to_owned());
            notes.push(M50102.inform(&[&endpoint.name, &reason]));
        }
        if endpoint.state == STARTED && encryption(endpoint.encryption_algorithm) == Some(Disabled) {
            notes.push(M50105.inform(&[&endpoint.name]));
        }
        endpoints::store(catalog, &endpoint)?;
        let engine = self.instance.engine();
        if self.instance.is_offline() {
            // It will listen where it is brought to.
        } else if endpoint.state == STARTED {
            // Only another address makes the listener begin anew. Everything else is what the next connections are made
            // with, and those that stand go on.
            let listens = engine.endpoint_address().is_some()
                && before.as_ref().is_some_and(|before| {
                    before.state == STARTED
                        && (before.port, &before.ip_address) == (endpoint.port, &endpoint.ip_address)
                });
            if listens {
                let config = config(&self.instance, catalog, &endpoint)?;
                engine.set_identity(config.identity)?;
                engine.set_role(config.role)?;
                let closed = engine.set_encryption(config.encryption)?;
                if closed > 0 {
                    let whose = format!(
                        "the endpoint '{}', which its ENCRYPTION does not allow any more,",
                        endpoint.name
                    );
                    notes.push(M50104.inform(&[&closed, &whose]));
                }
            } else if let Err(error) = engine.start_endpoint(config(&self.instance, catalog, &endpoint)?) {
                if let Some(before) = before.filter(|before| before.state == STARTED) {
                    // The statement is refused with its own error, whatever becomes of this.
                    let _ =
                        config(&self.instance, catalog, &before).map(|config| engine.start_endpoint(config));
                }
                return Err(error.into());
            }
        } else if engine.endpoint_address().is_some() {
            engine.stop_endpoint()?;
        }
        // CONNECT is that of the endpoint: there was none before, or it is the same one.
        crate::instance::endpoint::refresh_pins(&self.instance, catalog)?;
        Ok(notes)
    }
}

fn report(notes: &[crate::messages::Raised], out: &mut Out<'_>) -> Done {
    for note in notes {
        out.message(note)?;
    }
    Ok(())
}

const fn state_code(state: EndpointState) -> i32 {
    match state {
        EndpointState::Started => STARTED,
        EndpointState::Stopped => STOPPED,
        EndpointState::Disabled => DISABLED,
    }
}

/// Takes over the options that were written.
fn set(
    catalog: &Connection,
    endpoint: &mut Endpoint,
    tcp: &TcpOptions,
    mirroring: &MirroringOptions,
) -> Done {
    if let Some(port) = tcp.listener_port {
        endpoint.port = port;
    }
    match tcp.listener_ip {
        None => {}
        Some(ListenerIp::All) => endpoint.ip_address = None,
        Some(ListenerIp::Address(address)) => endpoint.ip_address = Some(address.to_string()),
    }
    if let Some(role) = mirroring.role {
        endpoint.role = match role {
            EndpointRole::Partner => 1,
            EndpointRole::Witness => 2,
            EndpointRole::All => 3,
        };
    }
    if let Some(encryption) = mirroring.encryption {
        endpoint.encryption_algorithm = encryption_code(encryption);
    }
    if let Some(authentication) = &mirroring.authentication {
        let (code, certificate) = authentication_code(authentication);
        endpoint.connection_auth = code;
        endpoint.certificate_id = match certificate {
            None => 0,
            Some(name) => {
                certificates::by_name(catalog, MASTER_ID, &name.value)?
                    .ok_or_else(|| M15151.refuse(&[&"find", &"certificate", &name.value]))?
                    .id
            }
        };
    }
    Ok(())
}

const fn encryption_code(encryption: Encryption) -> i32 {
    match encryption {
        Encryption::Disabled => 0,
        Encryption::Required(algorithm) => match algorithm {
            Some(Algorithm::Rc4) => 1,
            None | Some(Algorithm::Aes) => 2,
            Some(Algorithm::Rc4Aes) => 5,
            Some(Algorithm::AesRc4) => 6,
        },
        Encryption::Supported(algorithm) => match algorithm {
            Some(Algorithm::Rc4) => 3,
            None | Some(Algorithm::Aes) => 4,
            Some(Algorithm::Rc4Aes) => 7,
            Some(Algorithm::AesRc4) => 8,
        },
    }
}

const fn authentication_code(authentication: &Authentication) -> (i32, Option<&Name>) {
    match authentication {
        Authentication::Windows(method) => (windows(*method), None),
        Authentication::Certificate(name) => (4, Some(name)),
        Authentication::WindowsThenCertificate(method, name) => (windows(*method) + 4, Some(name)),
        Authentication::CertificateThenWindows(name, method) => (windows(*method) + 7, Some(name)),
    }
}

const fn windows(method: WindowsMethod) -> i32 {
    match method {
        WindowsMethod::Ntlm => 1,
        WindowsMethod::Kerberos => 2,
        WindowsMethod::Negotiate => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_views() {
        let n = Name {
            value: "c".into(),
            span: crate::tsql::Span::default(),
        };
        let codes: Vec<i32> = [
            Authentication::Windows(WindowsMethod::Ntlm),
            Authentication::Windows(WindowsMethod::Kerberos),
            Authentication::Windows(WindowsMethod::Negotiate),
            Authentication::Certificate(n.clone()),
            Authentication::WindowsThenCertificate(WindowsMethod::Ntlm, n.clone()),
            Authentication::WindowsThenCertificate(WindowsMethod::Kerberos, n.clone()),
            Authentication::WindowsThenCertificate(WindowsMethod::Negotiate, n.clone()),
            Authentication::CertificateThenWindows(n.clone(), WindowsMethod::Ntlm),
            Authentication::CertificateThenWindows(n.clone(), WindowsMethod::Kerberos),
            Authentication::CertificateThenWindows(n, WindowsMethod::Negotiate),
        ]
        .iter()
        .map(|authentication| authentication_code(authentication).0)
        .collect();
        assert_eq!(codes, (1..=10).collect::<Vec<_>>());
        let codes: Vec<i32> = [
            Encryption::Disabled,
            Encryption::Required(Some(Algorithm::Rc4)),
            Encryption::Required(None),
            Encryption::Supported(Some(Algorithm::Rc4)),
            Encryption::Supported(None),
            Encryption::Required(Some(Algorithm::Rc4Aes)),
            Encryption::Required(Some(Algorithm::AesRc4)),
            Encryption::Supported(Some(Algorithm::Rc4Aes)),
            Encryption::Supported(Some(Algorithm::AesRc4)),
        ]
        .map(encryption_code)
        .to_vec();
        assert_eq!(codes, (0..=8).collect::<Vec<_>>());
    }
}
