//! What a clean line costs in memory: nothing.

use event::{Classifier, Format};

const CLEAN: [&str; 4] = [
    r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /store/item.php?id=15&sort=price HTTP/1.1" 200 5124 "http://shop.example/store/?page=2" "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0""#,
    r#"192.0.2.7 - bob [16/Nov/2026:08:00:25 +0000] "POST /cart/add HTTP/1.1" 302 - "-" "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15""#,
    r#"2001:db8::7 - - [16/Nov/2026:08:00:25 +0000] "GET /assets/app.3f9c2b.js HTTP/2.0" 304 - "http://shop.example/" "Mozilla/5.0 (Windows NT 10.0; Win64; x64)""#,
    r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET /search?q=drop+leaf+table HTTP/1.1" 200 812 "-" "Mozilla/5.0""#,
];

#[test]
fn a_clean_line_of_parts_that_came_before_is_parsed_and_judged_without_an_allocation() {
    let classifier = Classifier::embedded();
    let judge = |line: &str| {
        let parsed = Format::Combined.parse(line.as_bytes());
        assert!(parsed.access().is_some_and(|access| classifier.judge(access).is_none()), "{line}");
    };
    for line in CLEAN {
        judge(line);
        let allocated = allocation_counter::measure(|| judge(line));
        assert_eq!(allocated.count_total, 0, "{line}");
    }
}
