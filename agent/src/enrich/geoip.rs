//! Where an address is: MaxMind's databases (GeoLite2, GeoIP2 and what has their shape),
//! <https://maxmind.github.io/MaxMind-DB/>.
//!
//! None can be shipped: their licence needs a key. `geoipupdate` fetches them and renames
//! new ones into place, and we notice. A database stands in memory whole (GeoLite2: City
//! 60 MB, Country and ASN 10 MB each), twice while it is replaced; an agent that must stay
//! below 40 MB is given Country and ASN.

use super::{Looks, Watched};
use event::cache::Cache;
use event::geo::{AutonomousSystem, Geo, Location, Organization, Place};
use maxminddb::{MaxMindDbError, Reader, geoip2};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of a database that are read. The largest that MaxMind sells have 250 MB.
pub const DATABASE_BYTES_MAX: u64 = 256 << 20;

/// Addresses whose answers are kept, with those of which nothing is known.
pub const ADDRESSES_MAX: usize = 8_192;

/// Bytes of a name that are kept. Names in MaxMind's databases have at most some 100; this
/// bounds what the cache holds of a database that somebody made.
const NAME_BYTES_MAX: usize = 128;

/// Why a file is no database of ours.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("it is no good MaxMind DB")]
    Bad(#[source] MaxMindDbError),
    #[error("its type is `{0}`: City, Enterprise, Country, ASN and ISP are read")]
    Type(String),
}

/// What a database tells, by the type in its metadata: `GeoLite2-City`, `DBIP-ASN-Lite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    City,
    Country,
    System,
}

impl Kind {
    fn of(database_type: &str) -> Result<Kind, OpenError> {
        let of = |names: &[&str]| names.iter().any(|name| database_type.contains(name));
        match () {
            () if of(&["City", "Enterprise"]) => Ok(Kind::City),
            () if of(&["Country"]) => Ok(Kind::Country),
            () if of(&["ASN", "ISP"]) => Ok(Kind::System),
            () => Err(OpenError::Type(database_type.chars().take(64).collect())),
        }
    }
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    reader: Reader<Vec<u8>>,
}

impl Open {
    fn from(bytes: Vec<u8>) -> Result<Open, OpenError> {
        let reader = Reader::from_source(bytes).map_err(OpenError::Bad)?;
        Ok(Open { kind: Kind::of(&reader.metadata().database_type)?, reader })
    }

    fn place(&self, ip: IpAddr) -> Result<Option<Place>, MaxMindDbError> {
        let city: Option<geoip2::City<'_>> = self.reader.lookup(ip)?.decode()?;
        Ok(city.map(place).filter(|place| !place.is_empty()))
    }

    fn system(&self, ip: IpAddr) -> Result<Option<AutonomousSystem>, MaxMindDbError> {
        let asn: Option<geoip2::Asn<'_>> = self.reader.lookup(ip)?.decode()?;
        Ok(asn.map(system).filter(|system| *system != AutonomousSystem::default()))
    }
}

/// A file, and the database that was last read from it.
#[derive(Debug)]
struct Database {
    file: Watched,
    open: Option<Open>,
}

impl Database {
    /// Reads the file if it has changed. Returns whether another database is in use now.
    fn refresh(&mut self) -> bool {
        let bytes = match self.file.read_if_changed() {
            Ok(None) => return false,
            Ok(Some(bytes)) => bytes,
            Err(cause) => {
                self.file.complain(&cause, "cannot use a GeoIP database");
                return false;
            }
        };
        match Open::from(bytes) {
            Ok(open) => {
                let (path, kind) = (self.file.path.display(), &open.reader.metadata().database_type);
                tracing::info!(%path, kind, built = open.reader.metadata().build_epoch, "GeoIP database in use");
                self.open = Some(open);
                self.file.good();
                true
            }
            Err(cause) => {
                self.file.complain(&cause, "cannot use a GeoIP database");
                false
            }
        }
    }

    /// What `ask` reads; a record that cannot be read is a warning, once, and no answer.
    fn ask<T>(&mut self, kind: Kind, ask: impl Fn(&Open) -> Result<Option<T>, MaxMindDbError>) -> Option<T> {
        match ask(self.open.as_ref().filter(|open| open.kind == kind)?) {
            Ok(answer) => answer,
            // An IPv6 address in a database of IPv4.
            Err(MaxMindDbError::InvalidInput { .. }) => None,
            Err(cause) => {
                self.file.complain(&cause, "a record of a GeoIP database cannot be read");
                None
            }
        }
    }
}

/// Answers where an address is, from databases that may be replaced while it runs.
#[derive(Debug)]
pub struct GeoIp {
    databases: Vec<Database>,
    cache: Cache<IpAddr, Option<Arc<Geo>>>,
    looks: Looks,
}

impl GeoIp {
    /// Opens the databases that are there. What is missing or bad is a warning, and is
    /// looked for again by [`GeoIp::refresh`].
    pub fn open<P: AsRef<Path>>(paths: &[P], now: Instant) -> GeoIp {
        let database = |path: &P| {
            let file = Watched::new(PathBuf::from(path.as_ref()), DATABASE_BYTES_MAX);
            Database { file, open: None }
        };
        let databases = paths.iter().map(database).collect();
        let mut geoip = GeoIp { databases, cache: Cache::of(ADDRESSES_MAX), looks: Looks::default() };
        geoip.refresh(now);
        geoip
    }

    /// Reads what has changed, at most once in [`super::LOOK_EVERY`]. Blocks while it reads.
    /// A new file that is bad leaves the old database in use.
    pub fn refresh(&mut self, now: Instant) {
        if !self.looks.due(now) {
            return;
        }
        for database in &mut self.databases {
            if database.refresh() {
                self.cache.clear();
            }
        }
    }

    /// What the databases tell of `ip`. The place comes from the first City database that
    /// knows the address, else from the first Country database that does. An IPv4 address
    /// that IPv6 carries counts as IPv4.
    pub fn look_up(&mut self, ip: IpAddr) -> Option<Arc<Geo>> {
        let ip = ip.to_canonical();
        if let Some(known) = self.cache.get(&ip) {
            return known;
        }
        let geo = Geo {
            place: self
                .first(Kind::City, |open| open.place(ip))
                .or_else(|| self.first(Kind::Country, |open| open.place(ip))),
            system: self.first(Kind::System, |open| open.system(ip)),
        };
        let geo = (geo != Geo::default()).then(|| Arc::new(geo));
        self.cache.keep(ip, geo.clone());
        geo
    }

    fn first<T>(&mut self, kind: Kind, ask: impl Fn(&Open) -> Result<Option<T>, MaxMindDbError>) -> Option<T> {
        self.databases.iter_mut().find_map(|database| database.ask(kind, &ask))
    }
}

fn place(city: geoip2::City<'_>) -> Place {
    let country = city.country.iso_code;
    // From the largest to the smallest.
    let region = city.subdivisions.last();
    let region_code = |code: &str| country.map(|country| name(&format!("{country}-{code}")));
    Place {
        continent_code: city.continent.code.map(name),
        country_iso_code: country.map(name),
        country_name: city.country.names.english.map(name),
        region_iso_code: region.and_then(|region| region.iso_code).and_then(region_code),
        region_name: region.and_then(|region| region.names.english).map(name),
        city_name: city.city.names.english.map(name),
        location: city.location.latitude.zip(city.location.longitude).and_then(|(lat, lon)| Location::new(lat, lon)),
        timezone: city.location.time_zone.map(name),
    }
}

fn system(asn: geoip2::Asn<'_>) -> AutonomousSystem {
    AutonomousSystem {
        number: asn.autonomous_system_number,
        organization: asn.autonomous_system_organization.map(|there| Organization { name: name(there) }),
    }
}

fn name(text: &str) -> Box<str> {
    text[..text.floor_char_boundary(NAME_BYTES_MAX)].into()
}

#[cfg(test)]
mod tests {
    use super::super::LOOK_EVERY;
    use super::super::tests::warnings;
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const CITY: &str = "GeoLite2-City-Test.mmdb";
    const COUNTRY: &str = "GeoLite2-Country-Test.mmdb";
    const ASN: &str = "GeoLite2-ASN-Test.mmdb";

    fn data(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/geoip").join(name)
    }

    fn geoip(names: &[&str]) -> GeoIp {
        let paths: Vec<PathBuf> = names.iter().map(|name| data(name)).collect();
        GeoIp::open(&paths, Instant::now())
    }

    fn told(geoip: &mut GeoIp, ip: &str) -> String {
        let geo = geoip.look_up(ip.parse().unwrap());
        geo.map_or_else(|| "nothing".to_owned(), |geo| serde_json::to_string(&*geo).unwrap())
    }

    #[test]
    fn an_address_is_placed_in_ecs_terms() {
        let mut geoip = geoip(&[ASN, CITY]);
        for (ip, expected) in [
            (
                "81.2.69.142",
                r#"{"geo":{"continent_code":"EU","country_iso_code":"GB","country_name":"United Kingdom","region_iso_code":"GB-ENG","region_name":"England","city_name":"London","location":{"lat":51.5142,"lon":-0.0931},"timezone":"Europe/London"}}"#,
            ),
            (
                "89.160.20.112",
                r#"{"geo":{"continent_code":"EU","country_iso_code":"SE","country_name":"Sweden","region_iso_code":"SE-E","region_name":"Östergötland County","city_name":"Linköping","location":{"lat":58.4167,"lon":15.6167},"timezone":"Europe/Stockholm"},"as":{"number":29518,"organization":{"name":"Bredband2 AB"}}}"#,
            ),
            (
                "2.125.160.216",
                r#"{"geo":{"continent_code":"EU","country_iso_code":"GB","country_name":"United Kingdom","region_iso_code":"GB-WBK","region_name":"West Berkshire","city_name":"Boxford","location":{"lat":51.75,"lon":-1.25},"timezone":"Europe/London"}}"#,
            ),
            (
                "216.160.83.56",
                r#"{"geo":{"continent_code":"NA","country_iso_code":"US","country_name":"United States","region_iso_code":"US-WA","region_name":"Washington","city_name":"Milton","location":{"lat":47.2513,"lon":-122.3149},"timezone":"America/Los_Angeles"},"as":{"number":209}}"#,
            ),
            ("1.128.0.0", r#"{"as":{"number":1221,"organization":{"name":"Telstra Pty Ltd"}}}"#),
            (
                "2001:218::1",
                r#"{"geo":{"continent_code":"AS","country_iso_code":"JP","country_name":"Japan","location":{"lat":35.68536,"lon":139.75309},"timezone":"Asia/Tokyo"}}"#,
            ),
            ("10.0.0.1", "nothing"),
            ("::", "nothing"),
        ] {
            assert_eq!(told(&mut geoip, ip), expected, "{ip}");
        }
        assert_eq!(told(&mut geoip, "::ffff:81.2.69.142"), told(&mut geoip, "81.2.69.142"));
    }

    #[test]
    fn a_country_database_answers_where_no_city_database_does() {
        let mut country = geoip(&[COUNTRY]);
        let expected = r#"{"geo":{"continent_code":"EU","country_iso_code":"GB","country_name":"United Kingdom"}}"#;
        assert_eq!(told(&mut country, "81.2.69.142"), expected);
        let (mut both, mut city) = (geoip(&[COUNTRY, CITY]), geoip(&[CITY]));
        assert_eq!(told(&mut both, "81.2.69.142"), told(&mut city, "81.2.69.142"));
    }

    #[test]
    fn without_a_database_nothing_is_told_and_one_warning_is_said() {
        let start = Instant::now();
        let said = warnings(|| {
            let mut geoip = GeoIp::open(&["/nowhere/City.mmdb"], start);
            geoip.refresh(start + LOOK_EVERY);
            assert_eq!(told(&mut geoip, "81.2.69.142"), "nothing");
        });
        let expected = "cannot use a GeoIP database path=/nowhere/City.mmdb \
            cause=cannot read it: No such file or directory (os error 2)";
        assert_eq!(said, [expected]);
    }

    #[test]
    fn a_database_that_comes_later_or_is_replaced_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.mmdb");
        let start = Instant::now();
        let mut geoip = GeoIp::open(&[&path], start);
        assert_eq!(told(&mut geoip, "1.128.0.0"), "nothing");
        fs::copy(data(ASN), &path).unwrap();
        geoip.refresh(start + LOOK_EVERY / 2);
        assert_eq!(told(&mut geoip, "1.128.0.0"), "nothing");
        geoip.refresh(start + LOOK_EVERY);
        assert!(told(&mut geoip, "1.128.0.0").contains("Telstra"));
        fs::copy(data(COUNTRY), folder.path().join("new")).unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        geoip.refresh(start + LOOK_EVERY * 2);
        assert!(told(&mut geoip, "81.2.69.142").contains("GB"));
    }

    #[test]
    fn a_bad_new_file_leaves_the_old_database_in_use_and_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.mmdb");
        fs::copy(data(ASN), &path).unwrap();
        let start = Instant::now();
        let mut geoip = GeoIp::open(&[&path], start);
        let half = fs::read(data(ASN)).unwrap();
        let said = warnings(|| {
            for (look, bytes) in [(1, &half[..half.len() / 2]), (2, b""), (3, &half[..100])] {
                fs::write(&path, bytes).unwrap();
                geoip.refresh(start + LOOK_EVERY * look);
                geoip.refresh(start + LOOK_EVERY * look);
                assert!(told(&mut geoip, "1.128.0.0").contains("Telstra"));
            }
            fs::remove_file(&path).unwrap();
            geoip.refresh(start + LOOK_EVERY * 4);
            assert!(told(&mut geoip, "1.128.0.1").contains("Telstra"));
        });
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("it is no good MaxMind DB: "), "{said:?}");
        assert!(said[1].contains("No such file"), "{said:?}");
    }

    #[test]
    fn a_database_of_another_type_is_refused_with_its_type() {
        let bytes = fs::read(data(ASN)).unwrap();
        let at = bytes.windows(12).position(|there| there == b"GeoLite2-ASN").unwrap();
        let other = [&bytes[..at], b"GeoLite2-XYZ", &bytes[at + 12..]].concat();
        let told = Open::from(other).unwrap_err().to_string();
        assert_eq!(told, "its type is `GeoLite2-XYZ`: City, Enterprise, Country, ASN and ISP are read");
    }

    #[test]
    fn no_more_addresses_are_remembered_than_may_be() {
        let mut geoip = geoip(&[ASN]);
        for ip in 0..3 * ADDRESSES_MAX as u32 {
            geoip.look_up(IpAddr::from(ip.to_be_bytes()));
        }
        assert!((ADDRESSES_MAX / 2..=ADDRESSES_MAX).contains(&geoip.cache.len()));
    }

    proptest! {
        #[test]
        fn a_corrupt_database_never_makes_a_look_up_panic(
            which in prop::sample::select(vec![CITY, COUNTRY, ASN]),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..400),
            cut in prop::option::of(any::<prop::sample::Index>()),
            asked: Vec<IpAddr>,
        ) {
            let mut bytes = fs::read(data(which)).unwrap();
            for (at, flip) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= flip;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let Ok(open) = Open::from(bytes) else { return Ok(()) };
            let mut database = Database { file: Watched::new(PathBuf::new(), 0), open: Some(open) };
            let known = ["81.2.69.142", "89.160.20.112", "2.125.160.216", "216.160.83.56", "1.128.0.0", "2001:218::1"];
            for ip in known.into_iter().map(|ip| ip.parse().unwrap()).chain(asked) {
                let place = database.ask(Kind::City, |open| open.place(ip));
                let city = place.and_then(|place| place.city_name);
                prop_assert!(city.is_none_or(|name| name.len() <= NAME_BYTES_MAX));
                database.ask(Kind::Country, |open| open.place(ip));
                database.ask(Kind::System, |open| open.system(ip));
            }
        }
    }
}
