//! The engines, for functions of the application.

use super::dialect::RowDialect;

/// Engine of an [`SqlStore`](crate::store::SqlStore), and of parts in tables: `Sqlite`, `Postgres` or `MySql` of sqlx,
/// as far as their features are on.
///
/// An application that chooses its engine at run time writes one function that is generic over it. Only this crate
/// implements the trait.
///
/// # Examples
///
/// ```no_run
/// use session_state::{Error, Part, SessionPart, SqlEngine};
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Cart { lines: Vec<String> }
/// # impl SessionPart for Cart { const NAME: &'static str = "cart"; }
///
/// /// A connection of either engine.
/// enum Connection<'c> {
///     # #[cfg(feature = "sqlite")]
///     Sqlite(&'c mut sqlx::SqliteConnection),
///     # #[cfg(feature = "postgres")]
///     Postgres(&'c mut sqlx::PgConnection),
/// }
/// # #[cfg(feature = "sqlite")]
/// impl<'c> From<&'c mut sqlx::SqliteConnection> for Connection<'c> {
/// #     fn from(connection: &'c mut sqlx::SqliteConnection) -> Self { Self::Sqlite(connection) }
///     // …
/// }
/// # async fn place_order(_: Connection<'_>, _: &Cart) -> Result<(), Error> { Ok(()) }
///
/// async fn check_out<D: SqlEngine>(cart: &mut Part<Cart>) -> Result<(), Error>
/// where
///     for<'c> Connection<'c>: From<&'c mut D::Connection>,
/// {
///     let Some(mut checkout) = cart.begin::<D>().await? else { return Ok(()) };
///     let ordered = Cart { lines: checkout.lines.clone() };
///     place_order(checkout.connection().into(), &ordered).await?;
///     checkout.commit().await
/// }
/// # #[cfg(feature = "sqlite")]
/// # async fn example(cart: &mut Part<Cart>) -> Result<(), Error> { check_out::<sqlx::Sqlite>(cart).await }
/// ```
#[expect(private_bounds, reason = "only the engines of this crate implement it")]
pub trait SqlEngine: sqlx::Database + RowDialect {}

impl<D: RowDialect> SqlEngine for D {}
