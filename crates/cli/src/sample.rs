//! `deploy/remora.sample.toml` tells the truth: it loads, its values are the defaults, and it names every key.

use std::fmt::Debug;
use std::path::Path;

use remora_service::config::Settings;
use remora_service::identity::IdentityConfig;
use remora_service::telemetry::LogConfig;
use serde::de::DeserializeOwned;

const SAMPLE: &str = include_str!("../../../deploy/remora.sample.toml");

fn check<T: DeserializeOwned + Default + Debug>(section: &'static str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/remora.sample.toml");
    let settings = Settings::from_parts(Some(&path), None, []).unwrap();
    let (sample, default) = (settings.section::<T>(section).unwrap(), T::default());
    assert_eq!(format!("{sample:#?}"), format!("{default:#?}"), "[{section}]: the sample's values are the defaults");
    // The keys of a settings type are the field names in its pretty Debug form, one level in.
    for line in format!("{default:#?}").lines().filter(|line| !line.contains("timed: ")) {
        let field =
            line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')).and_then(|rest| rest.split_once(": "));
        if let Some((key, _)) = field {
            let stated = [format!("{key} = "), format!("[{section}.{key}]"), format!("[[{section}.{key}]]")];
            assert!(stated.iter().any(|form| SAMPLE.contains(form)), "[{section}]: the sample lacks {key}");
        }
    }
}

#[test]
fn the_sample_lists_every_key_with_its_default() {
    check::<LogConfig>("log");
    check::<IdentityConfig>("identity");
    check::<remora_gateway::Config>("gateway");
    check::<remora_agents_server::Config>("agents_server");
    check::<remora_model_manager::Config>("model_manager");
}
