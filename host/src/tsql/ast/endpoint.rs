//! Endpoints.

use super::Name;

/// `CREATE ENDPOINT name …`
#[derive(Debug)]
pub struct CreateEndpoint {
    /// Its name.
    pub name: Name,
    /// AUTHORIZATION: the owning login.
    pub authorization: Option<Name>,
    /// STATE; STOPPED when absent.
    pub state: Option<EndpointState>,
    /// AS TCP (…); LISTENER_PORT is there and in range.
    pub tcp: TcpOptions,
    /// FOR DATABASE_MIRRORING (…); ROLE is there.
    pub mirroring: MirroringOptions,
}

/// `ALTER ENDPOINT name …`: only what is written changes.
#[derive(Debug)]
pub struct AlterEndpoint {
    /// Which.
    pub name: Name,
    /// STATE.
    pub state: Option<EndpointState>,
    /// AS TCP (…).
    pub tcp: TcpOptions,
    /// FOR DATABASE_MIRRORING (…).
    pub mirroring: MirroringOptions,
}

/// `STATE = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Bound and listening.
    Started,
    /// Not listening.
    Stopped,
    /// Listening, and refusing everybody.
    Disabled,
}

/// `AS TCP ( … )`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// LISTENER_PORT, 1024…65535.
    pub listener_port: Option<u16>,
    /// LISTENER_IP.
    pub listener_ip: Option<ListenerIp>,
}

/// `LISTENER_IP = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerIp {
    /// `ALL`: whatever this instance was told to bind.
    All,
    /// `(10.0.75.1)` or `('::1')`.
    Address(core::net::IpAddr),
}

/// `FOR DATABASE_MIRRORING ( … )`
#[derive(Debug, Default)]
pub struct MirroringOptions {
    /// AUTHENTICATION; WINDOWS NEGOTIATE when absent.
    pub authentication: Option<Authentication>,
    /// ENCRYPTION; REQUIRED ALGORITHM AES when absent.
    pub encryption: Option<Encryption>,
    /// ROLE.
    pub role: Option<EndpointRole>,
}

/// `AUTHENTICATION = …`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// `WINDOWS [NTLM | KERBEROS | NEGOTIATE]`
    Windows(WindowsMethod),
    /// `CERTIFICATE name`
    Certificate(Name),
    /// `WINDOWS … CERTIFICATE name`
    WindowsThenCertificate(WindowsMethod, Name),
    /// `CERTIFICATE name WINDOWS …`
    CertificateThenWindows(Name, WindowsMethod),
}

/// The kind of Windows authentication; NEGOTIATE when not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowsMethod {
    /// NTLM
    Ntlm,
    /// KERBEROS
    Kerberos,
    /// NEGOTIATE
    Negotiate,
}

/// `ENCRYPTION = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// `DISABLED`
    Disabled,
    /// `SUPPORTED [ALGORITHM …]`
    Supported(Option<Algorithm>),
    /// `REQUIRED [ALGORITHM …]`
    Required(Option<Algorithm>),
}

/// `ALGORITHM …`, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES
    Aes,
    /// RC4
    Rc4,
    /// AES RC4
    AesRc4,
    /// RC4 AES
    Rc4Aes,
}

/// `ROLE = …`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointRole {
    /// PARTNER
    Partner,
    /// WITNESS
    Witness,
    /// ALL
    All,
}
