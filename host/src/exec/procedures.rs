//! The stored procedures: `EXEC …`.

use std::time::Duration;

use super::{Done, Out, SqlSession, Stop, databases};
use crate::catalog::databases::{self as catalog, State};
use crate::catalog::views::guid_of;
use crate::errorlog;
use crate::messages::{M201, M214, M2812, M5120, M8144, M50134, Raised};
use crate::tsql::ast::{Argument, Execute, Literal};
use crate::tsql::{Column, SqlType, Value};

/// The longest that a test keeps its connection open.
const HOLD_MAX: i64 = 3600;

impl SqlSession {
    pub(super) fn execute(&mut self, execute: &Execute, out: &mut Out<'_>) -> Done {
        match execute.name().to_ascii_lowercase().as_str() {
            "sp_readerrorlog" | "xp_readerrorlog" => self.read_error_log(execute, out),
            "sp_dbmirror_accept_file" => self.accept_file(execute),
            "sp_dbmirror_checkpoint" => self.checkpoint(execute, out),
            "sp_dbmirror_forget_witnessed" => self.forget_witnessed(execute),
            "sp_control_dbmasterkey_password" => self.control_master_key_password(execute),
            "sp_dbmirror_rotate_certificate" => self.rotate_certificate(execute, out),
            "sp_dbmirror_test_connection" => self.test_connection(execute, out),
            "sp_dbmirror_pair_open" => self.pair_open(execute, out),
            "sp_dbmirror_pair_with" => self.pair_with(execute, out),
            "sp_dbmirror_fingerprint" => self.fingerprint(execute, out),
            _ => {
                let name: Vec<_> = execute.procedure.iter().map(|part| part.value.as_str()).collect();
                Err(M2812.refuse(&[&name.join(".")]).into())
            }
        }
    }

    /// `sp_readerrorlog [@p1 = log number], [@p2 = kind], [@p3 = search], [@p4 = search]`: the lines that hold both texts.
    fn read_error_log(&self, execute: &Execute, out: &mut Out<'_>) -> Done {
        let arguments = bind(execute, &["p1", "p2", "p3", "p4"])?;
        let mut wanted = Vec::new();
        for argument in arguments.iter().skip(2).flatten() {
            match argument {
                Literal::Text(text) => wanted.push(text.to_lowercase()),
                Literal::Null | Literal::Default => {}
                _ => {
                    return Err(M214
                        .refuse(&[&"sp_readerrorlog", &"@p3 and @p4 are strings"])
                        .into());
                }
            }
        }
        let path = self.instance.dir().error_log();
        let lines = errorlog::read(&path).map_err(|error| M5120.refuse(&[&path.display(), &error]))?;
        let rows: Vec<Vec<Value>> = lines
            .into_iter()
            .filter(|line| {
                let text = line.text.to_lowercase();
                wanted.iter().all(|wanted| text.contains(wanted))
            })
            .map(|line| {
                vec![
                    Value::Text(line.date),
                    Value::Text(line.level),
                    Value::Text(line.text),
                ]
            })
            .collect();
        let columns = [
            Column::new("LogDate", SqlType::DateTime),
            Column::new("ProcessInfo", SqlType::NVarChar(Some(50))),
            Column::new("Text", SqlType::NVarChar(None)),
        ];
        Ok(out.result(&columns, &rows)?)
    }

    /// `sp_dbmirror_accept_file @dbname`: takes the file of a database as it is, which was refused (5173).
    fn accept_file(&self, execute: &Execute) -> Done {
        let arguments = bind(execute, &["dbname"])?;
        let name = text(execute, &arguments, 0, "@dbname")?;
        let database = databases::find(&self.instance.master(), &name)?;
        let engine = self.instance.engine();
        if !engine.accept_file(database.id)? {
            return Err(M50134.refuse(&[&database.name]).into());
        }
        if database.state != State::RecoveryPending {
            return Ok(());
        }
        engine.attach_database(database.config())?;
        self.change(|catalog| Ok(catalog::set_state(catalog, database.id, State::Online)?))
    }

    /// `sp_dbmirror_checkpoint @dbname`: folds the whole WAL into the file; returns path, LSN and database sum.
    fn checkpoint(&self, execute: &Execute, out: &mut Out<'_>) -> Done {
        let arguments = bind(execute, &["dbname"])?;
        let name = text(execute, &arguments, 0, "@dbname")?;
        let database = databases::find(&self.instance.master(), &name)?;
        let checkpoint = self.instance.engine().checkpoint(database.id)?;
        let columns = [
            Column::new("path", SqlType::NVarChar(Some(4000))),
            Column::new("lsn", SqlType::Numeric(25, 0)),
            Column::new("database_sum", SqlType::Char(16)),
        ];
        let lsn = i64::try_from(checkpoint.lsn.0)
            .map_or_else(|_| Value::Text(checkpoint.lsn.to_string()), Value::Int);
        let row = vec![
            Value::Text(checkpoint.path.to_string_lossy().into_owned()),
            lsn,
            Value::Text(format!("{:016x}", checkpoint.sum)),
        ];
        Ok(out.result(&columns, &[row])?)
    }

    /// `sp_dbmirror_forget_witnessed @mirroring_guid`: this instance is the witness of that session no longer.
    fn forget_witnessed(&self, execute: &Execute) -> Done {
        let arguments = bind(execute, &["mirroring_guid"])?;
        let guid = text_ref(execute, &arguments, 0, "@mirroring_guid")?;
        let guid = guid_of(guid).ok_or_else(|| {
            M214.refuse(&[
                &execute.name(),
                &"@mirroring_guid is one of sys.database_mirroring_witnesses",
            ])
        })?;
        Ok(self.instance.engine().forget_witnessed(guid)?)
    }

    /// `sp_dbmirror_test_connection @address [, @hold = seconds]`: one row per step, as it happens. A failed check is an
    /// error behind the rows.
    fn test_connection(&self, execute: &Execute, out: &mut Out<'_>) -> Done {
        let arguments = bind(execute, &["address", "hold"])?;
        let address = text(execute, &arguments, 0, "@address")?;
        let hold = match arguments.get(1).and_then(Option::as_ref) {
            None | Some(Literal::Null | Literal::Default) => 0,
            Some(Literal::Int(seconds)) => (*seconds).clamp(0, HOLD_MAX),
            Some(_) => {
                return Err(M214
                    .refuse(&[&"sp_dbmirror_test_connection", &"@hold is a number of seconds"])
                    .into());
            }
        };
        out.sink.columns(&[
            Column::new("step", SqlType::NVarChar(Some(60))),
            Column::new("ok", SqlType::Bit),
            Column::new("detail", SqlType::NVarChar(None)),
        ])?;
        let mut rows = 0;
        let mut gone = false;
        let tested = self.instance.engine().test_connection(
            &address,
            Duration::from_secs(u64::try_from(hold).unwrap_or(0)),
            &mut |step| {
                let row = [
                    Value::Text(step.step),
                    Value::Int(step.ok.into()),
                    Value::Text(step.text),
                ];
                rows += 1;
                gone = gone || out.sink.row(&row).is_err();
            },
        );
        if gone {
            return Err(Stop::Cancelled);
        }
        out.sink.rows_affected(rows)?;
        Ok(tested?)
    }
}

/// The database that `@db_name`, the first argument, names.
pub(super) fn database_name(execute: &Execute) -> Option<&str> {
    let named = |argument: &&Argument| match &argument.name {
        None => false,
        Some(name) => name.value.eq_ignore_ascii_case("db_name"),
    };
    let first = execute.arguments.first().filter(|first| first.name.is_none());
    match &first.or_else(|| execute.arguments.iter().find(named))?.value {
        Literal::Text(name) => Some(name),
        _ => None,
    }
}

/// The arguments in the order of `names`.
pub(super) fn bind<'a>(execute: &'a Execute, names: &[&str]) -> Result<Vec<Option<&'a Literal>>, Raised> {
    let mut bound: Vec<Option<&Literal>> = vec![None; names.len()];
    for (at, Argument { name, value, .. }) in execute.arguments.iter().enumerate() {
        let place = match name {
            None => Some(at),
            Some(name) => names
                .iter()
                .position(|known| known.eq_ignore_ascii_case(&name.value)),
        };
        match place.and_then(|place| bound.get_mut(place)) {
            Some(slot) => *slot = Some(value),
            None => {
                let takes: Vec<String> = names.iter().map(|name| format!("@{name}")).collect();
                return Err(M8144.refuse(&[&execute.name(), &takes.join(", ")]));
            }
        }
    }
    Ok(bound)
}

/// A required argument that is a string and nothing else; it is not copied, since it may be a password.
pub(super) fn text_ref<'a>(
    execute: &Execute,
    bound: &[Option<&'a Literal>],
    at: usize,
    name: &str,
) -> Result<&'a str, Raised> {
    match bound.get(at).copied().flatten() {
        Some(Literal::Text(text)) => Ok(text),
        Some(Literal::Int(_) | Literal::Decimal(_) | Literal::Binary(_)) => {
            Err(M214.refuse(&[&execute.name(), &format!("{name} is a string")]))
        }
        None | Some(Literal::Null | Literal::Default) => Err(M201.refuse(&[&execute.name(), &name])),
    }
}

/// A required argument that is a string.
pub(super) fn text(
    execute: &Execute,
    bound: &[Option<&Literal>],
    at: usize,
    name: &str,
) -> Result<String, Raised> {
    match bound.get(at).copied().flatten() {
        Some(Literal::Text(text)) => Ok(text.clone()),
        Some(Literal::Int(number)) => Ok(number.to_string()),
        Some(Literal::Decimal(_) | Literal::Binary(_)) => {
            Err(M214.refuse(&[&execute.name(), &format!("{name} is a string")]))
        }
        None | Some(Literal::Null | Literal::Default) => Err(M201.refuse(&[&execute.name(), &name])),
    }
}
