//! The views of schema `sys`: their columns and the types of these, in one table for executor, client and tests.

use crate::tsql::SqlType::{
    self, BigInt, Bit, Char, DateTime, Int, NVarChar, Numeric, SmallInt, SqlVariant, SysName, TinyInt,
    UniqueIdentifier, VarBinary,
};

/// One view: its name in schema `sys`, and its columns in order.
#[derive(Debug)]
pub struct View {
    /// Name without the schema.
    pub name: &'static str,
    /// Columns.
    pub columns: &'static [(&'static str, SqlType)],
}

/// Every `_desc` column.
const DESC: SqlType = NVarChar(Some(60));
/// Every LSN.
const LSN: SqlType = Numeric(25, 0);

macro_rules! endpoint_columns {
    ($($more:tt)*) => {
        &[
            ("name", SysName),
            ("endpoint_id", Int),
            ("principal_id", Int),
            ("protocol", TinyInt),
            ("protocol_desc", DESC),
            ("type", TinyInt),
            ("type_desc", DESC),
            ("state", TinyInt),
            ("state_desc", DESC),
            ("is_admin_endpoint", Bit),
            $($more)*
        ]
    };
}

/// The view `name`, in any case.
#[must_use]
pub fn view(name: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name.eq_ignore_ascii_case(name))
}

/// All of them.
pub static VIEWS: &[View] = &[
    View {
        name: "symmetric_keys",
        columns: &[
            ("name", SysName),
            ("principal_id", Int),
            ("symmetric_key_id", Int),
            ("key_length", Int),
            ("key_algorithm", Char(2)),
            ("algorithm_desc", DESC),
            ("create_date", DateTime),
            ("modify_date", DateTime),
            ("key_guid", UniqueIdentifier),
            ("key_thumbprint", SqlVariant),
            ("provider_type", NVarChar(Some(120))),
            ("cryptographic_provider_guid", UniqueIdentifier),
            ("cryptographic_provider_algid", SqlVariant),
        ],
    },
    View {
        name: "key_encryptions",
        columns: &[
            ("key_id", Int),
            ("thumbprint", VarBinary(Some(32))),
            ("crypt_type", Char(4)),
            ("crypt_type_desc", DESC),
            ("crypt_property", VarBinary(None)),
        ],
    },
    View {
        name: "master_key_passwords",
        columns: &[("credential_id", Int), ("family_guid", UniqueIdentifier)],
    },
    View {
        name: "certificates",
        columns: &[
            ("name", SysName),
            ("certificate_id", Int),
            ("principal_id", Int),
            ("pvt_key_encryption_type", Char(2)),
            ("pvt_key_encryption_type_desc", DESC),
            ("is_active_for_begin_dialog", Bit),
            ("issuer_name", NVarChar(Some(442))),
            ("cert_serial_number", NVarChar(Some(64))),
            ("sid", VarBinary(Some(85))),
            ("string_sid", NVarChar(Some(128))),
            ("subject", NVarChar(Some(4000))),
            ("expiry_date", DateTime),
            ("start_date", DateTime),
            ("thumbprint", VarBinary(Some(32))),
            ("attested_by", NVarChar(Some(260))),
            ("pvt_key_last_backup_date", DateTime),
            ("key_length", Int),
            // Ours.
            ("days_to_expiry", Int),
            ("succession_desc", DESC),
        ],
    },
    View {
        name: "endpoints",
        columns: endpoint_columns!(),
    },
    View {
        name: "tcp_endpoints",
        columns: endpoint_columns!(
            ("port", Int),
            ("is_dynamic_port", Bit),
            ("ip_address", NVarChar(Some(45))),
        ),
    },
    View {
        name: "database_mirroring_endpoints",
        columns: endpoint_columns!(
            ("role", TinyInt),
            ("role_desc", DESC),
            ("is_encryption_enabled", Bit),
            ("connection_auth", TinyInt),
            ("connection_auth_desc", DESC),
            ("certificate_id", Int),
            ("encryption_algorithm", TinyInt),
            ("encryption_algorithm_desc", DESC),
        ),
    },
    View {
        name: "databases",
        columns: &[
            ("name", SysName),
            ("database_id", Int),
            ("source_database_id", Int),
            ("owner_sid", VarBinary(Some(85))),
            ("create_date", DateTime),
            ("compatibility_level", TinyInt),
            ("collation_name", SysName),
            ("user_access", TinyInt),
            ("user_access_desc", DESC),
            ("is_read_only", Bit),
            ("is_auto_close_on", Bit),
            ("state", TinyInt),
            ("state_desc", DESC),
            ("is_in_standby", Bit),
            ("recovery_model", TinyInt),
            ("recovery_model_desc", DESC),
            ("page_verify_option", TinyInt),
            ("page_verify_option_desc", DESC),
            ("is_trustworthy_on", Bit),
            ("is_master_key_encrypted_by_server", Bit),
            ("service_broker_guid", UniqueIdentifier),
            ("is_broker_enabled", Bit),
            ("log_reuse_wait", TinyInt),
            ("log_reuse_wait_desc", DESC),
            ("is_encrypted", Bit),
            ("replica_id", UniqueIdentifier),
            ("group_database_id", UniqueIdentifier),
            // Ours: where the SQLite file is.
            ("physical_name", NVarChar(Some(260))),
        ],
    },
    View {
        name: "database_recovery_status",
        columns: &[
            ("database_id", Int),
            ("database_guid", UniqueIdentifier),
            ("family_guid", UniqueIdentifier),
            ("last_log_backup_lsn", LSN),
            ("recovery_fork_guid", UniqueIdentifier),
            ("first_recovery_fork_guid", UniqueIdentifier),
            ("fork_point_lsn", LSN),
        ],
    },
    View {
        name: "server_principals",
        columns: &[
            ("name", SysName),
            ("principal_id", Int),
            ("sid", VarBinary(Some(85))),
            ("type", Char(1)),
            ("type_desc", DESC),
            ("is_disabled", Int),
            ("create_date", DateTime),
            ("modify_date", DateTime),
            ("default_database_name", SysName),
            ("default_language_name", SysName),
            ("credential_id", Int),
            ("owning_principal_id", Int),
            ("is_fixed_role", Bit),
        ],
    },
    View {
        name: "database_principals",
        columns: &[
            ("name", SysName),
            ("principal_id", Int),
            ("type", Char(1)),
            ("type_desc", DESC),
            ("default_schema_name", SysName),
            ("create_date", DateTime),
            ("modify_date", DateTime),
            ("owning_principal_id", Int),
            ("sid", VarBinary(Some(85))),
            ("is_fixed_role", Bit),
            ("authentication_type", Int),
            ("authentication_type_desc", DESC),
            ("default_language_name", SysName),
            ("default_language_lcid", Int),
            ("allow_encrypted_value_modifications", Bit),
        ],
    },
    View {
        name: "sysusers",
        columns: &[
            ("uid", SmallInt),
            ("status", SmallInt),
            ("name", SysName),
            ("sid", VarBinary(Some(85))),
            ("roles", VarBinary(Some(2048))),
            ("createdate", DateTime),
            ("updatedate", DateTime),
            ("altuid", SmallInt),
            ("password", VarBinary(Some(256))),
            ("gid", SmallInt),
            ("environ", NVarChar(Some(255))),
            ("hasdbaccess", Int),
            ("islogin", Int),
            ("isntname", Int),
            ("isntgroup", Int),
            ("isntuser", Int),
            ("issqluser", Int),
            ("isaliased", Int),
            ("issqlrole", Int),
            ("isapprole", Int),
        ],
    },
    View {
        name: "server_permissions",
        columns: &[
            ("class", TinyInt),
            ("class_desc", DESC),
            ("major_id", Int),
            ("minor_id", Int),
            ("grantee_principal_id", Int),
            ("grantor_principal_id", Int),
            ("type", Char(4)),
            ("permission_name", NVarChar(Some(128))),
            ("state", Char(1)),
            ("state_desc", DESC),
        ],
    },
    View {
        name: "database_mirroring",
        columns: &[
            ("database_id", Int),
            ("mirroring_guid", UniqueIdentifier),
            ("mirroring_state", TinyInt),
            ("mirroring_state_desc", DESC),
            ("mirroring_role", TinyInt),
            ("mirroring_role_desc", DESC),
            ("mirroring_role_sequence", Int),
            ("mirroring_safety_level", TinyInt),
            ("mirroring_safety_level_desc", DESC),
            ("mirroring_safety_sequence", Int),
            ("mirroring_partner_name", NVarChar(Some(128))),
            ("mirroring_partner_instance", NVarChar(Some(128))),
            ("mirroring_witness_name", NVarChar(Some(128))),
            ("mirroring_witness_state", TinyInt),
            ("mirroring_witness_state_desc", DESC),
            ("mirroring_failover_lsn", LSN),
            ("mirroring_connection_timeout", Int),
            ("mirroring_redo_queue", Int),
            ("mirroring_redo_queue_type", DESC),
            ("mirroring_end_of_log_lsn", LSN),
            ("mirroring_replication_lsn", LSN),
        ],
    },
    View {
        name: "database_mirroring_witnesses",
        columns: &[
            ("database_name", SysName),
            ("principal_server_name", SysName),
            ("mirror_server_name", SysName),
            ("safety_level", TinyInt),
            ("safety_level_desc", DESC),
            ("safety_sequence_number", Int),
            ("role_sequence_number", Int),
            ("mirroring_guid", UniqueIdentifier),
            ("family_guid", UniqueIdentifier),
            ("is_suspended", Bit),
            ("is_suspended_sequence_number", Int),
            ("partner_sync_state", TinyInt),
            ("partner_sync_state_desc", DESC),
            // Ours: whether the partner talks with this witness about the session.
            ("is_principal_connected", Bit),
            ("is_mirror_connected", Bit),
        ],
    },
    View {
        name: "dm_db_mirroring_connections",
        columns: &[
            ("connection_id", UniqueIdentifier),
            ("transport_stream_id", UniqueIdentifier),
            ("state", SmallInt),
            ("state_desc", DESC),
            ("connect_time", DateTime),
            ("login_time", DateTime),
            ("authentication_method", NVarChar(Some(128))),
            ("principal_name", NVarChar(Some(128))),
            ("remote_user_name", NVarChar(Some(128))),
            ("last_activity_time", DateTime),
            ("is_accept", Bit),
            ("login_state", SmallInt),
            ("login_state_desc", DESC),
            ("peer_certificate_id", Int),
            ("encryption_algorithm", SmallInt),
            ("encryption_algorithm_desc", DESC),
            ("receives_posted", SmallInt),
            ("is_receive_flow_controlled", Bit),
            ("sends_posted", SmallInt),
            ("is_send_flow_controlled", Bit),
            ("total_bytes_sent", BigInt),
            ("total_bytes_received", BigInt),
            ("total_fragments_sent", BigInt),
            ("total_fragments_received", BigInt),
            ("total_sends", BigInt),
            ("total_receives", BigInt),
            ("peer_arbitration_id", UniqueIdentifier),
            // Ours: the address of the other end.
            ("peer_address", NVarChar(Some(128))),
        ],
    },
    View {
        name: "dm_dbmirror_errors",
        columns: &[
            ("time", DateTime),
            ("peer", NVarChar(Some(128))),
            ("direction", NVarChar(Some(60))),
            ("step", NVarChar(Some(60))),
            ("number", Int),
            ("reason", NVarChar(None)),
        ],
    },
    View {
        name: "dm_dbmirror_sessions",
        columns: &[
            ("database_id", Int),
            ("database_name", SysName),
            ("role_desc", DESC),
            ("state_desc", DESC),
            ("end_of_log_lsn", LSN),
            ("redone_lsn", LSN),
            ("seeding_percent", Int),
            ("ungated_blocks", BigInt),
            ("reason", NVarChar(None)),
        ],
    },
    View {
        name: "dm_dbmirror_rotations",
        columns: &[
            ("rotation_id", BigInt),
            ("state", TinyInt),
            ("state_desc", DESC),
            ("old_certificate", SysName),
            ("new_certificate", SysName),
            ("start_date", DateTime),
            ("switch_date", DateTime),
            ("end_date", DateTime),
            ("principal_name", SysName),
            ("peer_arbitration_id", UniqueIdentifier),
            ("confirmed_date", DateTime),
            ("completed_date", DateTime),
            ("told_date", DateTime),
            ("refusal", Int),
        ],
    },
    View {
        name: "messages",
        columns: &[
            ("message_id", Int),
            ("language_id", SmallInt),
            ("severity", TinyInt),
            ("is_event_logged", Bit),
            ("text", NVarChar(Some(2048))),
        ],
    },
];

/// The declaration of a column in a query's in-memory tables: the type's name, by which [`of_declaration`] finds it again,
/// and the word from which SQLite takes the affinity. Text is compared without case, as operators are used to.
#[must_use]
pub fn declaration(sql_type: SqlType) -> String {
    let (affinity, collation) = match sql_type {
        // A guid must not have NUMERIC affinity: one of digits and a single E would become a number.
        SysName | Char(_) | SqlType::NChar(_) | SqlType::VarChar(_) | NVarChar(_) | UniqueIdentifier => {
            ("TEXT", " COLLATE NOCASE")
        }
        DateTime => ("TEXT", ""),
        Bit | TinyInt | SmallInt | Int | BigInt => ("INTEGER", ""),
        VarBinary(_) | SqlVariant => ("BLOB", ""),
        Numeric(..) => ("NUMERIC", ""),
        SqlType::Float => ("REAL", ""),
    };
    format!("\"{sql_type} {affinity}\"{collation}")
}

/// The type whose declaration SQLite reports for a result column.
#[must_use]
pub fn of_declaration(declared: &str) -> Option<SqlType> {
    let declared = declared.trim_matches('"');
    VIEWS
        .iter()
        .flat_map(|view| view.columns)
        .map(|(_, sql_type)| *sql_type)
        .find(|sql_type| declaration(*sql_type).split('"').nth(1) == Some(declared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_lead_back() {
        let memory = rusqlite::Connection::open_in_memory().unwrap();
        for (at, (name, sql_type)) in VIEWS.iter().flat_map(|view| view.columns).enumerate() {
            memory
                .execute_batch(&format!("CREATE TABLE t{at} (x {})", declaration(*sql_type)))
                .unwrap();
            let statement = memory.prepare(&format!("SELECT x FROM t{at}")).unwrap();
            let declared = statement
                .columns()
                .next()
                .unwrap()
                .decl_type()
                .unwrap()
                .to_owned();
            assert_eq!(of_declaration(&declared), Some(*sql_type), "{name}");
        }
        assert_eq!(of_declaration("TEXT"), None);
    }

    #[test]
    fn names_are_unique_and_desc_columns_alike() {
        let mut names = std::collections::BTreeSet::new();
        for view in VIEWS {
            assert!(names.insert(view.name));
            let mut columns = std::collections::BTreeSet::new();
            for (name, sql_type) in view.columns {
                assert!(columns.insert(name), "{}.{name}", view.name);
                if name.ends_with("_desc") {
                    assert_eq!(*sql_type, DESC, "{}.{name}", view.name);
                }
            }
        }
        assert!(super::view("Certificates").is_some());
        assert!(super::view("nothing").is_none());
    }
}
