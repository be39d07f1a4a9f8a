//! From the endpoint of the catalog to the endpoint that runs.

use std::net::{IpAddr, SocketAddr};

use dbmirror_core::channel::Encryption;
use dbmirror_core::secret::Secret;
use rusqlite::Connection;

use super::Instance;
use crate::catalog::endpoints::Endpoint;
use crate::catalog::{MASTER_ID, certificates, dates, endpoints, keys};
use crate::engine::{EndpointConfig, EndpointIdentity, EndpointRole};
use crate::messages::{M7810, M28055, Raised};

/// STARTED.
pub const STARTED: i32 = 0;
/// STOPPED.
pub const STOPPED: i32 = 1;
/// DISABLED.
pub const DISABLED: i32 = 2;

/// Why `endpoint` cannot run in this release, whatever its certificate; nothing when it can.
#[must_use]
pub fn obstacle(endpoint: &Endpoint) -> Option<&'static str> {
    if endpoint.state == DISABLED {
        return Some(
            "STATE = DISABLED, which would listen and refuse everybody, does not listen in this release",
        );
    }
    if endpoint.connection_auth <= 3 {
        return Some(
            "Windows authentication is not available. ALTER ENDPOINT … FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE …)",
        );
    }
    if encryption(endpoint.encryption_algorithm).is_none() {
        return Some(
            "RC4 is broken and is never negotiated, and nothing else is listed. ALTER ENDPOINT … FOR DATABASE_MIRRORING (ENCRYPTION = REQUIRED ALGORITHM AES)",
        );
    }
    None
}

/// What ENCRYPTION and ALGORITHM, by the code of `sys.database_mirroring_endpoints.encryption_algorithm`, come to once RC4 is
/// struck from the list: nothing is left of REQUIRED ALGORITHM RC4, and SUPPORTED ALGORITHM RC4 is left with no encryption.
#[must_use]
pub const fn encryption(code: i32) -> Option<Encryption> {
    match code {
        0 | 3 => Some(Encryption::Disabled),
        1 => None,
        4 | 7 | 8 => Some(Encryption::Supported),
        _ => Some(Encryption::Required),
    }
}

/// Gives the engine every pin of the catalog.
///
/// # Errors
/// `master.db` failed.
pub fn refresh_pins(instance: &Instance, master: &Connection) -> Result<(), Raised> {
    instance.engine().set_directory(certificates::pins(master)?);
    Ok(())
}

/// Starts the endpoint if there is one that is to be STARTED and can be.
///
/// # Errors
/// [`config`]'s, and what the engine says of the address.
pub fn start_if_wanted(instance: &Instance, master: &Connection) -> Result<Option<SocketAddr>, Raised> {
    match endpoints::mirroring(master)? {
        Some(endpoint) if endpoint.state == STARTED && obstacle(&endpoint).is_none() => Ok(Some(
            instance
                .engine()
                .start_endpoint(config(instance, master, &endpoint)?)?,
        )),
        _ => Ok(None),
    }
}

/// What the engine needs to run `endpoint`.
///
/// # Errors
/// 28055 when its certificate or key cannot be used.
pub fn config(
    instance: &Instance,
    master: &Connection,
    endpoint: &Endpoint,
) -> Result<EndpointConfig, Raised> {
    let bind = match &endpoint.ip_address {
        None => instance.bind(),
        Some(text) => text
            .parse::<IpAddr>()
            .map_err(|error| M7810.refuse(&[text, &"LISTENER_IP", &error]))?,
    };
    Ok(EndpointConfig {
        bind,
        port: endpoint.port,
        role: match endpoint.role {
            1 => EndpointRole::Partner,
            2 => EndpointRole::Witness,
            _ => EndpointRole::All,
        },
        // Who has nothing left is kept from starting by `obstacle`; required is what fails safe.
        encryption: encryption(endpoint.encryption_algorithm).unwrap_or(Encryption::Required),
        identity: identity(instance, master, endpoint.certificate_id)?,
    })
}

/// The certificate and key that prove this instance.
///
/// # Errors
/// 28055, saying which link is broken.
pub fn identity(
    instance: &Instance,
    master: &Connection,
    certificate_id: i32,
) -> Result<EndpointIdentity, Raised> {
    let Some(certificate) = certificates::by_id(master, certificate_id)? else {
        return Err(M28055.refuse(&[&certificate_id, &"it does not exist"]));
    };
    let unusable = |why: &str| M28055.refuse(&[&certificate.name, &why]);
    let now = dates::now_unix();
    if now < certificate.not_before {
        return Err(unusable("it is not valid yet"));
    }
    if now > certificate.not_after {
        return Err(unusable("it has expired"));
    }
    let wrapped = match (&certificate.private_key, certificate.protection.as_str()) {
        (Some(wrapped), "MK") => wrapped,
        (Some(_), _) => {
            return Err(unusable(
                "its private key is protected by a password, which no connection could type",
            ));
        }
        (None, _) => return Err(unusable("it has no private key here")),
    };
    let above = match keys::row(master, MASTER_ID)? {
        None => return Err(unusable("master has no master key")),
        Some(row) => {
            let above = instance.service_master_key();
            row.open(&above)?.ok_or_else(|| {
                let why = row.closed_because(&above).unwrap_or_default();
                unusable(&format!(
                    "the master key of master does not open by itself: {why}"
                ))
            })?
        }
    };
    let private = keys::open_private_key(wrapped, &above).map_err(|error| unusable(&error.to_string()))?;
    if !private.belongs_to::<keys::Crypto>(&certificate.point) {
        return Err(unusable("its private key does not fit"));
    }
    let mut signing_key = Secret::zero();
    *signing_key.expose_mut() = *private.scalar().expose();
    Ok(EndpointIdentity {
        certificate_id,
        certificate_der: certificate.der,
        signing_key,
    })
}

#[cfg(test)]
mod tests;
