//! Certificates are replaced without dropping a connection (`docs/safety.md` §4; for operators: `docs/operations.md`, "Renewing
//! certificates").
//!
//! A rotation of this instance's own certificate is a row of the catalog with a state; each step is one transaction, and what runs
//! follows from what is stored. So whatever kills the instance, it goes on where it was:
//!
//! ```text
//! DISTRIBUTING ──every partner has stored the successor──► SWITCHED ──every partner has completed a handshake with it──► RETIRING ──told──► DONE
//!      └──────────────given up, or the endpoint was altered──────┴──► CANCELLING ──told──► CANCELLED
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | `own` | the steps of this instance's rotations |
//! | `peers` | what is done about certificates that peers hand over or give up |
//! | `expiry` | certificates that expire are told of, day by day |

mod expiry;
pub mod own;
pub mod peers;
#[cfg(test)]
mod tests;

pub use expiry::warning as expiry_warning;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::engine::CertificateEvent;
use crate::errorlog;
use crate::instance::Instance;

/// How often the steps are looked at when nothing happens.
const TICK: Duration = Duration::from_secs(1);
/// A step that still fails in the same way is told again after this.
const AGAIN: Duration = Duration::from_secs(60);

/// Follows certificates on a thread of its own, which ends with the instance.
///
/// # Errors
/// When no thread can be started.
pub fn follow(instance: &Arc<Instance>, events: Receiver<CertificateEvent>) -> std::io::Result<()> {
    let instance = Arc::downgrade(instance);
    std::thread::Builder::new()
        .name("certificates".to_owned())
        .spawn(move || {
            let mut driver = own::Driver::default();
            let mut expiry = expiry::Told::default();
            let mut log = peers::Log::default();
            let mut told: Option<(String, Instant)> = None;
            loop {
                let event = match events.recv_timeout(TICK) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                let Some(instance) = instance.upgrade() else {
                    return;
                };
                if let Some(event) = event {
                    take(&instance, event, &mut log);
                }
                if let Err(error) = driver.step(&instance)
                    && told
                        .as_ref()
                        .is_none_or(|(text, at)| *text != error.text || at.elapsed() >= AGAIN)
                {
                    errorlog::raised(&error);
                    told = Some((error.text, Instant::now()));
                }
                expiry.look(&instance);
            }
        })
        .map(drop)
}

/// Does what an event asks for.
fn take(instance: &Instance, event: CertificateEvent, log: &mut peers::Log) {
    let done = match event {
        CertificateEvent::Told(told) => {
            let answer = peers::told(instance, &told, log);
            instance
                .engine()
                .answer_certificate(told.connection, told.number, answer);
            Ok(())
        }
        CertificateEvent::Answered {
            peer,
            number,
            refusal,
        } => own::answered(instance, peer, number, refusal),
        CertificateEvent::Online {
            peer,
            certificate_id,
            own_certificate_id,
        } => peers::came_with(instance, certificate_id)
            .and_then(|()| own::shown(instance, peer, own_certificate_id)),
    };
    if let Err(error) = done {
        errorlog::raised(&error);
    }
}
