//! The types of values and parts, in two builds of one application.

use http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use session_state::{ErrorKind, MemoryStore, Part, PartOrDefault, Session, SessionLayer, SessionPart};

use crate::browser::{App, Browser};
use crate::part_kit::{session, visit};

/// The former release.
mod v1 {
    use super::{Deserialize, Serialize, SessionPart};

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(super) struct Profile {
        pub(super) name: String,
        pub(super) zip: u32,
        pub(super) step: Step,
        pub(super) legacy: Option<String>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(super) enum Step {
        #[default]
        Start,
        Address,
    }

    impl SessionPart for Profile {
        const NAME: &'static str = "profile";
    }
}

/// The present release: a field is added, one removed, one renamed, one of another type, and an enum has more variants.
mod v2 {
    use super::{Deserialize, Serialize, SessionPart};

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(super) struct Profile {
        /// Written under the former name for as long as the former release may read it.
        #[serde(rename = "name", alias = "full_name")]
        pub(super) full_name: String,
        #[serde(deserialize_with = "number_or_text")]
        pub(super) zip: String,
        pub(super) step: Step,
        #[serde(default)]
        pub(super) phone: Option<String>,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(super) enum Step {
        #[default]
        Start,
        Address,
        Paid {
            receipt: u32,
        },
    }

    impl SessionPart for Profile {
        const NAME: &'static str = "profile";
    }

    fn number_or_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Zip {
            Number(u32),
            Text(String),
        }
        Ok(match Zip::deserialize(deserializer)? {
            Zip::Number(number) => number.to_string(),
            Zip::Text(text) => text,
        })
    }
}

/// The release after that: the alias reads what is left under the former name.
mod v3 {
    use super::{Deserialize, Serialize, SessionPart};

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(super) struct Profile {
        #[serde(alias = "name")]
        pub(super) full_name: String,
        pub(super) zip: String,
    }

    impl SessionPart for Profile {
        const NAME: &'static str = "profile";
    }
}

fn app() -> App {
    App::new(SessionLayer::server(MemoryStore::new()))
}

async fn change<T: SessionPart>(browser: &mut Browser, app: &App, change: impl FnOnce(&mut T) + Send + 'static) {
    visit::<T, _>(browser, app, |part| change(part)).await.value();
}

async fn read<T: SessionPart + Clone + Send>(browser: &mut Browser, app: &App) -> T {
    visit::<T, _>(browser, app, |part| T::clone(part)).await.value()
}

async fn filled(app: &App) -> Browser {
    let mut browser = Browser::default();
    let fill = |profile: &mut v1::Profile| {
        (profile.name, profile.zip, profile.legacy) = ("Ada".to_owned(), 8000, Some("old".to_owned()));
        profile.step = v1::Step::Address;
    };
    change(&mut browser, app, fill).await;
    browser
}

async fn decode_error<T: SessionPart>(browser: &Browser, app: &App) -> ErrorKind {
    let read = |extensions| async move {
        Part::<T>::from_extensions(&extensions).await?;
        Ok((StatusCode::OK, ()))
    };
    let visit = browser.send_raw(app, read).await;
    assert_eq!(visit.status, StatusCode::INTERNAL_SERVER_ERROR);
    visit.error.unwrap().kind().clone()
}

#[tokio::test]
async fn a_field_is_added_removed_renamed_and_of_another_type() {
    let app = app();
    let mut browser = filled(&app).await;
    let expected =
        v2::Profile { full_name: "Ada".to_owned(), zip: "8000".to_owned(), step: v2::Step::Address, phone: None };
    assert_eq!(read::<v2::Profile>(&mut browser, &app).await, expected);
    change::<v2::Profile>(&mut browser, &app, |profile| profile.phone = Some("123".to_owned())).await;
    let expected = v2::Profile { phone: Some("123".to_owned()), ..expected };
    assert_eq!(read::<v2::Profile>(&mut browser, &app).await, expected);
    // A field that changed its type is written as it was until it is changed.
    change::<v2::Profile>(&mut browser, &app, |profile| profile.zip = "SW1A".to_owned()).await;
    let later = read::<v3::Profile>(&mut browser, &app).await;
    assert_eq!(later, v3::Profile { full_name: "Ada".to_owned(), zip: "SW1A".to_owned() });
    change::<v3::Profile>(&mut browser, &app, |profile| profile.full_name.push_str(" L.")).await;
    assert_eq!(read::<v3::Profile>(&mut browser, &app).await.full_name, "Ada L.");
    assert_eq!(read::<v2::Profile>(&mut browser, &app).await.full_name, "Ada L.");
    assert_eq!(decode_error::<v1::Profile>(&browser, &app).await, ErrorKind::Decode { key: "profile".into() });
}

#[tokio::test]
async fn two_builds_side_by_side_keep_the_fields_of_each_other() {
    let app = app();
    let mut browser = filled(&app).await;
    for round in 0..3_u32 {
        change::<v2::Profile>(&mut browser, &app, move |profile| profile.phone = Some(round.to_string())).await;
        change::<v1::Profile>(&mut browser, &app, move |profile| profile.zip += 1).await;
        change::<v2::Profile>(&mut browser, &app, |profile| profile.full_name.push('!')).await;
        change::<v1::Profile>(&mut browser, &app, |profile| profile.legacy.get_or_insert_default().push('?')).await;
    }
    let (former, present) =
        (read::<v1::Profile>(&mut browser, &app).await, read::<v2::Profile>(&mut browser, &app).await);
    let legacy = Some("old???".to_owned());
    assert_eq!(former, v1::Profile { name: "Ada!!!".to_owned(), zip: 8003, step: v1::Step::Address, legacy });
    assert_eq!((present.zip.as_str(), present.phone.as_deref()), ("8003", Some("2")));
}

#[tokio::test]
async fn what_the_former_build_cannot_read_is_an_error_for_its_handlers_and_kept() {
    let app = app();
    let mut browser = filled(&app).await;
    change::<v2::Profile>(&mut browser, &app, |profile| profile.step = v2::Step::Paid { receipt: 7 }).await;
    let _ = app.events();
    assert_eq!(decode_error::<v1::Profile>(&browser, &app).await, ErrorKind::Decode { key: "profile".into() });
    assert_eq!(app.events(), ["RequestFailed"]);
    // Routes without the part work, and the present build reads it still.
    browser.set(&app, "n", 1).await.value();
    assert_eq!(read::<v2::Profile>(&mut browser, &app).await.step, v2::Step::Paid { receipt: 7 });

    // A handler of the former build that must work begins with the default.
    let mut rolled_back = browser.clone();
    let or_default = |extensions| async move {
        let PartOrDefault(mut part) = PartOrDefault::<v1::Profile>::from_extensions(&extensions).await?;
        let seen = part.name.clone();
        part.name = "Bob".to_owned();
        Ok((StatusCode::OK, seen))
    };
    assert_eq!(rolled_back.send_raw(&app, or_default).await.value(), "");
    assert_eq!(read::<v1::Profile>(&mut rolled_back, &app).await.name, "Bob");

    change::<v2::Profile>(&mut browser, &app, |profile| profile.step = v2::Step::Paid { receipt: 8 }).await;
    let remove = |extensions| async move {
        session(&extensions).await.remove_part::<v1::Profile>()?;
        Ok((StatusCode::OK, ()))
    };
    browser.send_raw(&app, remove).await.value();
    assert_eq!(read::<v1::Profile>(&mut browser, &app).await, v1::Profile::default());
}

async fn value<T: DeserializeOwned + Send + 'static>(browser: &mut Browser, app: &App) -> Result<Option<T>, ErrorKind> {
    let get = |session: Session| async move { session.get::<T>("v").map_err(|error| error.kind().clone()) };
    browser.visit(app, get).await.value()
}

#[tokio::test]
async fn a_value_of_another_type_is_an_error_that_leaves_it_in_place() {
    let (app, mut browser) = (app(), Browser::default());
    browser.visit(&app, |session| async move { session.insert("v", v1::Step::Address).unwrap() }).await.value();
    assert_eq!(value::<v2::Step>(&mut browser, &app).await, Ok(Some(v2::Step::Address)));
    let paid = |session: Session| async move { session.insert("v", v2::Step::Paid { receipt: 7 }).unwrap() };
    browser.visit(&app, paid).await.value();
    let error = ErrorKind::Decode { key: "v".into() };
    assert_eq!(value::<v1::Step>(&mut browser, &app).await, Err(error.clone()));
    assert_eq!(value::<v2::Step>(&mut browser, &app).await, Ok(Some(v2::Step::Paid { receipt: 7 })));
    let update = |session: Session| async move {
        session.update("v", |step: &mut v1::Step| *step = v1::Step::Start).map_err(|error| error.kind().clone())
    };
    assert_eq!(browser.visit(&app, update).await.value(), Err(error));
    browser.visit(&app, |session| async move { session.insert("v", v1::Step::Start).unwrap() }).await.value();
    assert_eq!(value::<v2::Step>(&mut browser, &app).await, Ok(Some(v2::Step::Start)));
}
