//! The scripts, each one atomic step on the server.
//!
//! A server is sent the hash of a script. One that does not know it, as after a restart or a failover, is sent the
//! text, which it runs and remembers.

use std::sync::LazyLock;

use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, RedisResult, ServerErrorKind, Value};

pub(super) struct Script {
    text: &'static str,
    hash: LazyLock<String>,
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $($file:literal)*;)*) => {$(
        $(#[$doc])*
        pub(super) static $name: Script = {
            const TEXT: &str = concat!($(include_str!(concat!("lua/", $file, ".lua"))),*);
            Script { text: TEXT, hash: LazyLock::new(|| redis::Script::new(TEXT).get_hash().to_owned()) }
        };
    )*};
}

scripts! {
    CREATE = "head" "index" "create";
    UPDATE = "head" "index" "update";
    TOUCH = "head" "index" "touch";
    DELETE = "head" "delete";
    /// Retires a key. With more keys it also writes the successor and adds it to an index, in the same step.
    RENEW = "head" "index" "renew";
    /// Writes a successor under a free key.
    PLACE = "head" "place";
    /// Deletes a successor after a failed renewal.
    UNDO_PLACE = "head" "undo_place";
    /// Adds a session to an index.
    INDEX_ADD = "index" "index_add";
    /// Removes sessions from an index.
    INDEX_REMOVE = "index" "index_remove";
}

impl Script {
    /// Runs the script in one round trip, or in two if the server does not have it yet.
    pub(super) async fn run(
        &self,
        connection: &mut impl ConnectionLike,
        keys: &[&[u8]],
        args: &[&[u8]],
    ) -> RedisResult<Value> {
        match Self::command("EVALSHA", &self.hash, keys, args).query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                Self::command("EVAL", self.text, keys, args).query_async(connection).await
            }
            reply => reply,
        }
    }

    fn command(name: &str, script: &str, keys: &[&[u8]], args: &[&[u8]]) -> Cmd {
        // The name, the number of keys and the separators take less than 32 bytes each.
        let arguments = 3 + keys.len() + args.len();
        let bytes: usize = keys.iter().chain(args).map(|argument| argument.len()).sum();
        let mut command = Cmd::with_capacity(arguments, script.len() + bytes + 32 * arguments);
        command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(args);
        command
    }
}
