//! Where an address is and whose network it is in, as the agent looked it up.
//!
//! It travels in frames, and its JSON is that of ECS's field sets `geo` and `as`, so a
//! document takes it as it is.

use serde::{Deserialize, Serialize};

/// What the agent looked up of a client's address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    #[serde(flatten)]
    pub geo: Geo,
    /// The name of its network in the operator's own list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Box<str>>,
}

impl SourceFacts {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        *self == SourceFacts::default()
    }
}

/// What databases tell of an address. Absent is what they do not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geo {
    /// ECS `source.geo`.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "geo")]
    pub place: Option<Place>,
    /// ECS `source.as`.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "as")]
    pub system: Option<AutonomousSystem>,
}

/// ECS `geo.*`. Names are English.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// `EU`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continent_code: Option<Box<str>>,
    /// ISO 3166-1: `GB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country_iso_code: Option<Box<str>>,
    /// `United Kingdom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country_name: Option<Box<str>>,
    /// ISO 3166-2, of the smallest region that is told: `GB-ENG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_iso_code: Option<Box<str>>,
    /// `England`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region_name: Option<Box<str>>,
    /// `London`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city_name: Option<Box<str>>,
    /// The middle of the place; tens of kilometres off are usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// IANA's name: `Europe/London`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<Box<str>>,
}

impl Place {
    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        *self == Place::default()
    }
}

/// A point on the globe, in degrees. Always finite and on the globe, so an index that
/// knows `geo_point` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Degrees")]
pub struct Location {
    lat: f64,
    lon: f64,
}

/// Never NaN.
impl Eq for Location {}

impl Location {
    /// `None` for what is not on the globe: latitude -90 to 90, longitude -180 to 180.
    pub fn new(lat: f64, lon: f64) -> Option<Location> {
        let on_the_globe = (-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon);
        on_the_globe.then_some(Location { lat, lon })
    }

    /// Degrees north.
    pub fn lat(self) -> f64 {
        self.lat
    }

    /// Degrees east.
    pub fn lon(self) -> f64 {
        self.lon
    }
}

#[derive(Deserialize)]
struct Degrees {
    lat: f64,
    lon: f64,
}

/// A location that is not on the globe.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("latitude {lat} and longitude {lon} are not on the globe")]
pub struct OffTheGlobe {
    lat: f64,
    lon: f64,
}

impl TryFrom<Degrees> for Location {
    type Error = OffTheGlobe;

    fn try_from(there: Degrees) -> Result<Location, OffTheGlobe> {
        Location::new(there.lat, there.lon).ok_or(OffTheGlobe { lat: there.lat, lon: there.lon })
    }
}

/// ECS `as.*`: who routes the address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutonomousSystem {
    /// `1221`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Who runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<Organization>,
}

/// ECS `as.organization.*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// `Telstra Pty Ltd`.
    pub name: Box<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_carries_it_with_the_names_of_ecs_and_without_absent_fields() {
        let geo = Geo {
            place: Some(Place {
                country_iso_code: Some("GB".into()),
                city_name: Some("London".into()),
                location: Location::new(51.5142, -0.0931),
                ..Place::default()
            }),
            system: Some(AutonomousSystem {
                number: Some(1221),
                organization: Some(Organization { name: "Telstra".into() }),
            }),
        };
        let text = r#"{"geo":{"country_iso_code":"GB","city_name":"London","location":{"lat":51.5142,"lon":-0.0931}},"as":{"number":1221,"organization":{"name":"Telstra"}}}"#;
        assert_eq!(serde_json::to_string(&geo).unwrap(), text);
        assert_eq!(serde_json::from_str::<Geo>(text).unwrap(), geo);
        assert_eq!(serde_json::from_str::<Geo>("{}").unwrap(), Geo::default());
        assert_eq!(serde_json::to_string(&Geo::default()).unwrap(), "{}");
    }

    #[test]
    fn a_field_of_a_newer_agent_is_no_error() {
        let read: Geo =
            serde_json::from_str(r#"{"geo":{"country_iso_code":"GB","postal_code":"E1"},"isp":1}"#).unwrap();
        assert_eq!(read.place.unwrap().country_iso_code.as_deref(), Some("GB"));
    }

    #[test]
    fn a_location_is_on_the_globe() {
        for (lat, lon) in [(91.0, 0.0), (0.0, -180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(Location::new(lat, lon), None);
        }
        let read: Result<Location, _> = serde_json::from_str(r#"{"lat":91,"lon":0}"#);
        assert_eq!(read.unwrap_err().to_string(), "latitude 91 and longitude 0 are not on the globe");
    }
}
