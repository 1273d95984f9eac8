//! What behaviour is read from in one request: told from its bytes, without decoding.

use super::hash::Key;
use event::Access;

/// Bytes of a target that are looked at.
const TARGET_BYTES_MAX: usize = 2048;

/// Parameters of a query that are looked at.
const PARAMETERS_MAX: usize = 16;

/// Names in lower case that are looked for in any case. Nearly all words are told from them
/// by their length or their first letter.
struct Names {
    all: &'static [&'static [u8]],
    /// A bit for each length, and one for each first letter.
    lengths: u32,
    letters: u32,
}

impl Names {
    const fn of(all: &'static [&'static [u8]]) -> Names {
        let (mut lengths, mut letters, mut at) = (0, 0, 0);
        while at < all.len() {
            assert!(all[at].len() < 32, "a bit for each length");
            lengths |= 1 << all[at].len();
            letters |= 1 << (all[at][0] & 31);
            at += 1;
        }
        Names { all, lengths, letters }
    }

    fn have(&self, word: &[u8]) -> bool {
        let Some(first) = word.first().filter(|_| word.len() < 32) else { return false };
        let may_be = self.lengths >> word.len() & self.letters >> (first & 31) & 1 == 1;
        may_be && self.all.iter().any(|known| known.eq_ignore_ascii_case(word))
    }
}

/// What pages load, as told by the end of the path.
static ASSETS: Names = Names::of(&[
    b"avif", b"bmp", b"css", b"eot", b"gif", b"ico", b"jpeg", b"jpg", b"js", b"json", b"map", b"mjs", b"mp4", b"otf",
    b"png", b"svg", b"ttf", b"webp", b"woff", b"woff2",
]);

/// Words with which names of pages begin or end where people log in.
const LOGINS: [&[u8]; 5] = [b"login", b"logon", b"signin", b"authenticate", b"authentication"];

/// The same in other languages, as the first word of a name.
static FOREIGN_LOGINS: Names =
    Names::of(&[b"acceso", b"anmelden", b"anmeldung", b"connexion", b"einloggen", b"inloggen"]);

/// Words of a name that asks how things stand with a login, as pages do over and over.
static ASKED_OF_LOGINS: Names = Names::of(&[b"heartbeat", b"info", b"keepalive", b"ping", b"state", b"status"]);

/// Names of such pages that hold none of these words: of Java's servlets and Spring.
static LOGIN_PAGES: Names = Names::of(&[b"j_acegi_security_check", b"j_security_check", b"j_spring_security_check"]);

/// Folders that are a login where nothing is asked for in a query: of Joomla and phpMyAdmin. There
/// `index.php` takes everything else, too.
static LOGIN_FOLDERS: Names = Names::of(&[b"administrator", b"phpmyadmin", b"pma", b"myadmin"]);

/// Folders and pages that are a login for who has none yet, and much else for who has: of Magento,
/// WooCommerce, Drupal, Zabbix and Adminer.
static SHARED_FOLDERS: Names = Names::of(&[b"admin", b"adminer", b"my-account", b"user", b"zabbix"]);

/// Parameters that say which page or what of it is asked for.
static PAGES: Names = Names::of(&[
    b"_action",
    b"_task",
    b"act",
    b"action",
    b"controller",
    b"do",
    b"mode",
    b"module",
    b"option",
    b"page",
    b"r",
    b"route",
    b"task",
    b"title",
    b"view",
]);

/// Names of addresses that let somebody in, of Rails and of OAuth.
static SESSIONS_OF_LOGINS: Names = Names::of(&[b"session", b"sessions"]);
static TOKENS_OF_LOGINS: Names = Names::of(&[b"token", b"tokens"]);

/// Folders whose `auth` is asked for each channel that a page listens to: of Laravel and Pusher.
static CHANNELS: Names = Names::of(&[b"broadcasting", b"pusher"]);

/// Folders of addresses that programs ask.
static APIS: Names = Names::of(&[b"api", b"api2", b"rest", b"graphql", b"oauth", b"oauth2"]);

/// Bytes of an answer that shows a page with its form again, and not just that somebody is let in.
pub const FORM_BYTES: u64 = 1_000;

/// Parameters that hold a password.
static PASSWORDS: Names = Names::of(&[b"passcode", b"passphrase", b"passwd", b"password", b"pwd", b"passwort"]);

/// Those that may as well hold a postal code, a place on a map or a ticket: a login's, where it is
/// said who logs in.
static SHORT_PASSWORDS: Names = Names::of(&[b"pass", b"pin"]);

/// Parameters that say who logs in.
static USERS: Names =
    Names::of(&[b"user", b"username", b"user_name", b"uname", b"usr", b"email", b"login", b"log", b"name"]);

/// Parameters and cookies that hold a session.
static SESSIONS: Names = Names::of(&[
    b"asp.net_sessionid",
    b"connect.sid",
    b"jsessionid",
    b"laravel_session",
    b"phpsessid",
    b"session",
    b"session_id",
    b"sessionid",
    b"sid",
    b"_session_id",
]);

/// Parameters that hold a password somebody wants to have from now on.
static NEW_PASSWORDS: Names = Names::of(&[
    b"password_new",
    b"new_password",
    b"newpassword",
    b"newpass",
    b"new_pass",
    b"passwd_new",
    b"pwd_new",
    b"new_pwd",
]);

/// Parameters that say whose thing is asked for.
static PEOPLE: Names = Names::of(&[
    b"account",
    b"account_id",
    b"accountid",
    b"acct",
    b"customer",
    b"customer_id",
    b"employee",
    b"employee_id",
    b"member",
    b"member_id",
    b"profile_id",
    b"uid",
    b"user_id",
    b"userid",
]);

/// Parameters that say which thing of somebody's is asked for.
static THINGS: Names = Names::of(&[
    b"id",
    b"order",
    b"order_id",
    b"orderid",
    b"invoice",
    b"invoice_id",
    b"file",
    b"file_id",
    b"fileid",
    b"doc",
    b"doc_id",
    b"document",
    b"document_id",
    b"ticket",
    b"ticket_id",
    b"message_id",
    b"receipt",
]);

/// Folders of a path, in the singular, whose numbers name people.
static PEOPLE_FOLDERS: Names = Names::of(&[
    b"account",
    b"client",
    b"customer",
    b"employee",
    b"member",
    b"patient",
    b"profile",
    b"student",
    b"user",
]);

/// Folders of a path, in the singular, whose numbers name things of somebody's.
static THING_FOLDERS: Names = Names::of(&[
    b"attachment",
    b"booking",
    b"contract",
    b"doc",
    b"document",
    b"file",
    b"invoice",
    b"message",
    b"order",
    b"payment",
    b"receipt",
    b"statement",
    b"ticket",
]);

/// Parts of a path that are looked at for such folders.
const FOLDERS_MAX: usize = 16;

/// Words of a name that are looked at.
const NAME_WORDS_MAX: usize = 16;

/// What paths begin their last part with that change something.
const CHANGES: [&[u8]; 8] = [b"delete", b"remove", b"transfer", b"change", b"grant", b"promote", b"disable", b"reset"];

/// Parameters that say what is to be done, in WordPress, Joomla and programs like them.
static ACTIONS: Names =
    Names::of(&[b"act", b"action", b"cmd", b"do", b"func", b"method", b"mode", b"op", b"operation", b"task", b"todo"]);

/// What is done that changes something, as the value of such a parameter or as a path's last part.
/// Left out is what other sites' pages may well link to: `add` to a basket, `activate` an account, `save`
/// a bookmark.
static VERBS: Names = Names::of(&[
    b"adduser",
    b"approve",
    b"ban",
    b"createuser",
    b"deactivate",
    b"del",
    b"delete",
    b"deleteuser",
    b"deluser",
    b"destroy",
    b"disable",
    b"drop",
    b"erase",
    b"grant",
    b"promote",
    b"purge",
    b"remove",
    b"rename",
    b"transfer",
    b"trash",
    b"truncate",
    b"uninstall",
    b"unpublish",
]);

/// The same as the name of a parameter: `?delete=7`.
static VERB_KEYS: Names =
    Names::of(&[b"adduser", b"del", b"delete", b"deleteuser", b"deluser", b"destroy", b"promote", b"remove"]);

/// What is done by a part of a program that is named before it: `task=user.save`, `/user/add`.
static VERBS_OF_USERS: Names = Names::of(&[b"add", b"create", b"insert", b"save", b"update"]);
static USER_PARTS: Names = Names::of(&[
    b"account",
    b"accounts",
    b"admin",
    b"admins",
    b"member",
    b"members",
    b"password",
    b"role",
    b"roles",
    b"user",
    b"users",
]);

/// What a statement of SQL begins with that changes something, for tools that take one (`sql_query`).
static STATEMENTS: Names =
    Names::of(&[b"alter", b"create", b"delete", b"drop", b"grant", b"insert", b"revoke", b"truncate", b"update"]);

/// Parameters that tell how a visitor came, or in which language he reads.
static ORIGINS: Names = Names::of(&[b"fbclid", b"gclid", b"hl", b"lang", b"msclkid", b"ref", b"source"]);

/// How names of parameters end with which a link in a mail shows that it was sent by the site itself.
const TOKENS: [&[u8]; 6] = [b"code", b"hash", b"key", b"sig", b"signature", b"token"];

/// Bytes of such a token at least.
const TOKEN_BYTES: usize = 16;

/// Those of a number that is good for one use, of WordPress.
const NONCE_BYTES: usize = 10;

/// Parts of an action's name that are looked at.
const WORDS_MAX: usize = 4;

/// Ends of names that servers run.
static SCRIPTS: Names = Names::of(&[
    b"ashx", b"asmx", b"asp", b"aspx", b"cfm", b"cgi", b"jsp", b"jspx", b"phar", b"php", b"php3", b"php4", b"php5",
    b"php7", b"php8", b"pht", b"phtml", b"pl", b"shtml",
]);

/// Parts of a path under which sites keep what users sent.
static UPLOADED: Names = Names::of(&[
    b"attachments",
    b"avatars",
    b"documents",
    b"files",
    b"gallery",
    b"images",
    b"img",
    b"media",
    b"photos",
    b"pictures",
    b"temp",
    b"tmp",
    b"upload",
    b"uploads",
    b"userfiles",
]);

/// Parts of a path behind which forges show files as text.
static SHOWN: Names = Names::of(&[b"-", b"blame", b"blob", b"plain", b"raw", b"tree"]);

/// Parts behind `src` that say which state of it is shown.
static STATES: Names = Names::of(&[b"branch", b"commit", b"tag"]);

/// Words of the last part of an address that takes files, or of what it is asked to do.
const UPLOADERS: [&[u8]; 12] = [
    b"upload",
    b"import",
    b"avatar",
    b"attach",
    b"filemanager",
    b"file-manager",
    b"file_manager",
    b"elfinder",
    b"finder",
    b"media",
    b"gallery",
    b"photo",
];

/// What programs call themselves that fetch packages.
const FETCHERS: [&[u8]; 8] =
    [b"Apache-Maven/", b"Composer/", b"Gradle/", b"Microsoft-Symbol-Server/", b"NuGet", b"git/", b"npm/", b"pip/"];

/// Folders around such an address that are looked at, from the innermost on.
pub const UPLOADER_FOLDERS: usize = 4;

/// A number by which a request asks for a person or for something that is somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// The parameter that holds it, or the path up to it.
    pub name: &'a [u8],
    pub number: i64,
    pub is_person: bool,
    /// What follows it, where it stands in the path.
    pub rest: Option<&'a [u8]>,
}

/// A request as far as behaviour is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub method: &'a [u8],
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub status: u16,
    pub bytes: u64,
    pub referer: Option<&'a [u8]>,
    pub agent: &'a [u8],
    pub user: Option<&'a [u8]>,
    pub vhost: Option<&'a [u8]>,
    /// Of the path.
    pub hash: u64,
    pub is_asset: bool,
}

impl<'a> Request<'a> {
    /// What there is to look at in `access`.
    pub fn of(access: &Access<'a>, key: Key) -> Request<'a> {
        let (line, target) = access.request.map_or((&b""[..], None), |request| (request.line, request.target));
        let target = target.or(access.path).unwrap_or(line);
        let target = &target[..target.len().min(TARGET_BYTES_MAX)];
        let question = memchr::memchr(b'?', target);
        let path = &target[..question.unwrap_or(target.len())];
        let query = question.map(|at| &target[at + 1..]).or(access.query.map(|query| &query[1.min(query.len())..]));
        Request {
            method: access.request.and_then(|request| request.method).unwrap_or(b""),
            path,
            query: query.filter(|query| !query.is_empty()),
            status: access.status.unwrap_or(0),
            bytes: access.bytes.unwrap_or(0),
            referer: access.referer.filter(|referer| !referer.is_empty()),
            agent: access.user_agent.unwrap_or(b""),
            user: access.user.filter(|user| !user.is_empty()),
            // `%V` is what the client says that the host is called.
            vhost: access.vhost.filter(|_| !access.is_vhost_claimed).map(|(name, _)| name),
            hash: key.hash(path),
            is_asset: extension(path).is_some_and(|end| ASSETS.have(end)),
        }
    }

    /// Whether the client was told no, or to log in first where it told no name; what takes too long
    /// is neither.
    pub fn is_miss(&self) -> bool {
        self.status == 401 && self.user.is_none()
            || matches!(self.status, 400 | 403..=407 | 410..=417 | 421..=428 | 430..=499)
    }

    /// Whether the client was sent elsewhere.
    pub fn is_redirected(&self) -> bool {
        (300..400).contains(&self.status) && self.status != 304
    }

    /// How long what was asked for is where a page's text repeats it.
    pub fn target_len(&self) -> usize {
        let ampersands = |query: &[u8]| query.iter().filter(|byte| **byte == b'&').count();
        self.path.len() + self.query.map_or(0, |query| 1 + query.len() + ampersands(query) * b"amp;".len())
    }

    /// Whether it asks for what the answer then holds.
    pub fn asks(&self) -> bool {
        matches!(self.method, b"GET" | b"POST")
    }

    /// Whether programs ask there.
    pub fn is_of_api(&self) -> bool {
        let mut parts = self.path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).take(FOLDERS_MAX);
        parts.any(|part| APIS.have(part) || is_version(part))
    }

    /// The hash of the page that is asked for: of the path, and of what the query says which page of
    /// it is meant. Of a value the first word counts: what is behind it may be an attack.
    pub fn page(&self, key: Key) -> u64 {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let first = |value: &'a [u8]| &value[..value.iter().position(|byte| !is_word(byte)).unwrap_or(value.len())];
        let of_page = self.parameters().filter(|(name, _)| PAGES.have(name));
        of_page.fold(self.hash, |hash, (name, value)| key.with(key.with(hash, key.hash(name)), key.hash(first(value))))
    }

    /// The parameters of the query, still encoded.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.query.unwrap_or(b"").split(|byte| *byte == b'&').take(PARAMETERS_MAX).filter_map(|pair| {
            let equals = memchr::memchr(b'=', pair)?;
            Some((&pair[..equals], &pair[equals + 1..]))
        })
    }

    fn value(&self, names: &Names) -> Option<&'a [u8]> {
        self.parameters().find(|(name, value)| !value.is_empty() && names.have(name)).map(|(_, value)| value)
    }

    /// What is tried at a login, if this is one: hashes of the password and of the name,
    /// where the line shows them.
    pub fn attempt(&self, key: Key) -> Option<Attempt> {
        let refused = self.status == 401 && self.user.is_some();
        if self.query.is_none() && !refused && self.method != b"POST" {
            return None;
        }
        let is_told = || self.value(&USERS).is_some() || self.login().is_some();
        let short = || self.value(&SHORT_PASSWORDS).filter(|_| is_told());
        let password = self.query.and_then(|_| self.value(&PASSWORDS).or_else(short)).map(|value| key.hash(value));
        let is_post = self.method == b"POST" && !matches!(self.status, 404 | 405 | 410);
        let login = if is_post { self.login() } else { None };
        if password.is_none() && !refused && login.is_none() {
            return None;
        }
        let name = self.value(&USERS).or(self.user).map(|name| key.hash(name));
        let is_browser = self.is_browser();
        let shows_form = self.status == 200 && self.bytes >= FORM_BYTES && is_browser;
        let (is_of_program, is_let_in) = match login {
            None | Some(Login::Page) => (false, false),
            Some(Login::Api) => (!is_browser, !is_browser),
            Some(Login::Auth) => (!is_browser, !shows_form),
            Some(Login::Token) => (true, true),
            Some(Login::Calls) => (!is_browser, false),
            Some(Login::Shared) => (true, false),
        };
        let is_granted = password.is_none() && is_let_in && (200..300).contains(&self.status);
        let is_shared = password.is_none() && matches!(login, Some(Login::Calls | Login::Shared));
        let (is_repeated, is_bare) = (refused || is_of_program, is_browser && self.referer.is_none());
        let agent = key.hash(self.agent);
        Some(Attempt { password, name, agent, is_repeated, is_granted, is_shared, is_bare })
    }

    /// Whether what is asked for holds a word, as it is.
    pub fn names(&self, word: &[u8]) -> bool {
        let holds = |text: &[u8]| memchr::memmem::find(text, word).is_some();
        !word.is_empty() && (holds(self.path) || self.query.is_some_and(holds))
    }

    /// The session that it belongs to, if the log tells one: from the query, from the header
    /// `Cookie`, or from a cookie that the format logs by its name (`%{PHPSESSID}C`).
    pub fn session(&self, access: &Access<'a>) -> Option<&'a [u8]> {
        let of_name = |directive: &str| {
            let name = directive.split_once('{')?.1.strip_suffix("}C")?;
            SESSIONS.have(name.as_bytes()).then_some(())
        };
        let by_name = || access.others.iter().find(|(directive, _)| of_name(directive).is_some());
        let in_header = || {
            let mut cookies = access.request_header("cookie")?.split(|byte| *byte == b';').take(PARAMETERS_MAX);
            cookies.find_map(|cookie| {
                let cookie = cookie.trim_ascii();
                let equals = memchr::memchr(b'=', cookie)?;
                SESSIONS.have(&cookie[..equals]).then_some(&cookie[equals + 1..])
            })
        };
        let found = self.value(&SESSIONS).or_else(|| by_name().map(|(_, value)| *value)).or_else(in_header);
        found.filter(|session| !session.is_empty())
    }

    /// What kind of login it is sent to, if to one.
    fn login(&self) -> Option<Login> {
        let parts = || self.path.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty());
        fn name(part: &[u8]) -> &[u8] {
            &part[..memchr::memchr(b'.', part).unwrap_or(part.len())]
        }
        let (last, before) = (parts().next().unwrap_or(b""), parts().nth(1).unwrap_or(b""));
        let is_page = |part: &&[u8]| LOGIN_PAGES.have(name(part)) || is_login(part);
        let in_folder = || {
            let folder = if name(last).eq_ignore_ascii_case(b"index") { before } else { last };
            LOGIN_FOLDERS.have(folder) && self.query.is_none_or(|query| query == b"route=/")
        };
        let in_query = || {
            let is_page = |name: &[u8]| PAGES.have(name) || name == b"cmd";
            self.parameters().any(|(name, value)| is_page(name) && is_login(value) || name == b"q" && value == b"user")
        };
        // Proxmox lets in who asks for a ticket.
        let is_ticket = || last == b"ticket" && before == b"access";
        if parts().take(2).any(|part| is_page(&part)) || in_folder() || in_query() || is_ticket() {
            return Some(if self.is_of_api() { Login::Api } else { Login::Page });
        }
        let is_auth = || words(last).any(|word| word.eq_ignore_ascii_case(b"auth")) && !CHANNELS.have(before);
        // Who is not let in gets the form again, or is sent to it.
        let is_shared = || {
            let part = if last.eq_ignore_ascii_case(b"index.php") { before } else { last };
            let shows_form = !(200..300).contains(&self.status) || self.status == 200 && self.bytes >= FORM_BYTES;
            (SHARED_FOLDERS.have(part) || name(part).eq_ignore_ascii_case(b"adminer"))
                && self.query.is_none()
                && shows_form
        };
        match name(last) {
            b"xmlrpc" => Some(Login::Calls),
            _ if is_shared() => Some(Login::Shared),
            last if TOKENS_OF_LOGINS.have(last) => Some(Login::Token),
            last if SESSIONS_OF_LOGINS.have(last) || is_auth() => Some(Login::Auth),
            _ => None,
        }
    }

    /// The number by which it asks for a person or for something that is somebody's.
    pub fn numbered(&self) -> Option<Numbered<'a>> {
        let in_query = self.parameters().find_map(|(name, value)| {
            let is_person = PEOPLE.have(name);
            let number = (is_person || THINGS.have(name)).then(|| decimal(value))??;
            Some(Numbered { name, number, is_person, rest: None })
        });
        in_query.or_else(|| self.numbered_folder())
    }

    /// A number behind a folder that is named after people or their things: `/invoices/17/print`.
    fn numbered_folder(&self) -> Option<Numbered<'a>> {
        let mut slashes = memchr::memchr_iter(b'/', self.path).take(FOLDERS_MAX).chain([self.path.len()]);
        let (mut from, mut folder) = (slashes.next()? + 1, &b""[..]);
        slashes.find_map(|to| {
            let part = self.path.get(from..to)?;
            let begin = std::mem::replace(&mut from, to + 1);
            let before = std::mem::replace(&mut folder, part);
            let before = before.strip_suffix(b"s").unwrap_or(before);
            let is_person = PEOPLE_FOLDERS.have(before);
            let number = (is_person || THING_FOLDERS.have(before)).then(|| decimal(part))??;
            Some(Numbered { name: &self.path[..begin], number, is_person, rest: Some(&self.path[to..]) })
        })
    }

    /// A parameter whose value holds what no plain word does. Words in quotes are what filters of APIs hold, if
    /// the request is not known as an attack.
    pub fn odd(&self, is_attack: bool) -> Option<(&'a [u8], &'a [u8])> {
        self.parameters().find(|(_, value)| is_odd(value) && (is_attack || !is_quoted(value)))
    }

    pub fn sets_password(&self) -> bool {
        self.query.is_some() && self.value(&NEW_PASSWORDS).is_some()
    }

    /// Whether it looks as if it changed something, though GET should not.
    pub fn changes(&self) -> bool {
        let is_loaded = self.is_asset && !extension(self.path).is_some_and(|end| end.eq_ignore_ascii_case(b"json"));
        if self.method != b"GET" || is_loaded {
            return false;
        }
        let mut parts = self.path.rsplit(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let (last, before) = (parts.next().unwrap_or(b""), parts.next().unwrap_or(b""));
        let name = &last[..memchr::memchr(b'.', last).unwrap_or(last.len())];
        let is_told = || self.parameters().any(|(name, _)| !tells_where_from(name));
        let is_by_mail = || self.parameters().any(is_token);
        let in_path = || {
            VERBS.have(name) && decimal(before).is_some()
                || is_told() && (VERBS_OF_USERS.have(name) && USER_PARTS.have(before) || is_change(name))
        };
        self.sets_password() || (self.parameters().any(asks_for_change) || in_path()) && !is_by_mail()
    }

    /// Whether files may be sent there, or one was.
    pub fn is_upload(&self) -> bool {
        let has = |text: &[u8], word: &[u8]| text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        let last = || last_part(self.path).1;
        let is_folder = |part: &[u8]| UPLOADED.have(part);
        let takes_files = || {
            UPLOADERS.iter().any(|word| has(last(), word))
                || is_folder(last())
                || has(self.query.unwrap_or(b""), b"upload")
        };
        let puts_file = || self.path.split(|byte| *byte == b'/').any(is_folder);
        match self.method {
            b"POST" => self.status < 400 && takes_files(),
            b"PUT" => (200..300).contains(&self.status) && (self.put_script().is_some() || puts_file()),
            _ => false,
        }
    }

    /// The folders of an application that takes a file, from the innermost on: its own programs lie
    /// there. One that is called an upload may be where the file is put.
    pub fn folders(&self) -> impl Iterator<Item = &'a [u8]> {
        let (before, last) = last_part(self.path);
        let is_of_files = last.windows(6).any(|word| word.eq_ignore_ascii_case(b"upload"));
        let path = self.path.strip_suffix(b"/").unwrap_or(self.path);
        let first = if is_of_files || last.contains(&b'.') { before } else { path };
        let folder = if self.method == b"PUT" { b"" } else { first };
        std::iter::successors(Some(folder), |folder| Some(last_part(folder).0)).take_while(|folder| !folder.is_empty())
    }

    /// The folder that it lies in.
    pub fn folder(&self) -> &'a [u8] {
        &self.path[..memchr::memrchr(b'/', self.path).unwrap_or(0)]
    }

    /// The path under which a program lies that was put there, if one was. A slash behind the name
    /// hides it from careless filters.
    pub fn put_script(&self) -> Option<&'a [u8]> {
        let path = self.path.strip_suffix(b"/").unwrap_or(self.path);
        let is_run =
            || self.program().is_some_and(|folder| folder == last_part(path).0 && !folders_of(folder).is_shown);
        (self.method == b"PUT" && (200..300).contains(&self.status) && is_run()).then_some(path)
    }

    /// The path of a file that was put there, without the end of its name.
    pub fn put_stem(&self) -> Option<&'a [u8]> {
        (self.method == b"PUT" && (200..300).contains(&self.status)).then(|| stem(self.path))?
    }

    /// The same of one that got another name.
    pub fn moved_stem(&self) -> Option<&'a [u8]> {
        (matches!(self.method, b"MOVE" | b"COPY") && (200..300).contains(&self.status)).then(|| stem(self.path))?
    }

    /// The same of a program that may be such a file.
    pub fn run_stem(&self) -> Option<&'a [u8]> {
        let is_run = || self.program().is_some_and(|folder| folder == self.folder() && !folders_of(folder).is_shown);
        (self.asks() && is_run()).then(|| stem(self.path))?
    }

    /// Whether it is a program that lies among what users sent.
    pub fn is_uploaded_script(&self) -> bool {
        self.program().is_some_and(|folder| folders_of(folder).is_uploaded)
    }

    /// The folder of the program that runs: the first one, which is given what stands behind it.
    fn program(&self) -> Option<&'a [u8]> {
        let mut ends = memchr::memchr_iter(b'/', self.path).chain([self.path.len()]);
        let mut from = 0;
        ends.find_map(|to| {
            let begin = std::mem::replace(&mut from, to + 1);
            let is_script = extension(&self.path[begin..to]).is_some_and(|end| SCRIPTS.have(end));
            is_script.then(|| &self.path[..begin.saturating_sub(1)])
        })
    }

    /// Whether it says that it is a robot.
    pub fn is_robot(&self) -> bool {
        let has = |word: &[u8]| self.agent.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        [&b"bot"[..], b"spider", b"crawl", b"slurp", b"+http", b"googleother"].into_iter().any(has)
    }

    /// Whether it says that it is a program that fetches packages: it asks one registry after the other.
    pub fn is_fetcher(&self) -> bool {
        FETCHERS.iter().any(|name| self.agent.starts_with(name))
    }

    /// Whether who is let in asks only whether something is there, as programs do before they send it.
    pub fn asks_before(&self) -> bool {
        matches!(self.method, b"HEAD" | b"PROPFIND") && self.user.is_some() && self.status != 401
    }

    /// Whether it says that a person's browser sends it.
    pub fn is_browser(&self) -> bool {
        self.agent.starts_with(b"Mozilla/") && !self.is_robot()
    }

    /// Whether it comes from the same path, or from one in the same first folder.
    pub fn is_from_same_folder(&self) -> bool {
        let first = |path: &'a [u8]| path.split(|byte| *byte == b'/').nth(1).unwrap_or(b"");
        self.from().is_some_and(|(_, path)| !first(path).is_empty() && first(path) == first(self.path))
    }

    /// Whether a page of a program that is one file loads a part of itself: Adminer's
    /// `?file=default.css`.
    pub fn loads_part(&self) -> bool {
        let name = self.query.and_then(|query| query.strip_prefix(b"file="));
        let name = name.map(|name| &name[..memchr::memchr(b'&', name).unwrap_or(name.len())]);
        self.referer.is_some() && name.and_then(extension).is_some_and(|end| ASSETS.have(end))
    }

    /// Host and path of the page that it comes from.
    pub fn from(&self) -> Option<(&'a [u8], &'a [u8])> {
        let referer = self.referer?;
        let at = memchr::memmem::find(referer, b"://")? + 3;
        let rest = &referer[at..referer.len().min(at + TARGET_BYTES_MAX)];
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        Some((host, &path[..memchr::memchr2(b'?', b'#', path).unwrap_or(path.len())]))
    }
}

/// Words of a name, which end at what is no letter or digit, and before a capital behind a small letter.
fn words(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_small = |byte: u8| !byte.is_ascii_uppercase();
    name.split(|byte| !byte.is_ascii_alphanumeric())
        .flat_map(move |part| part.chunk_by(move |one, next| !(is_small(*one) && next.is_ascii_uppercase())))
        .filter(|word| !word.is_empty())
        .take(NAME_WORDS_MAX)
}

/// Whether a name is that of a login: `doLogin`, `login_check`, `sign-in`.
fn is_login(name: &[u8]) -> bool {
    let is_it = |word: &[u8], known: &[u8]| {
        let begins = word.get(..known.len()).is_some_and(|head| head.eq_ignore_ascii_case(known));
        let ends = || word.len() > known.len() && word[word.len() - known.len()..].eq_ignore_ascii_case(known);
        begins || ends()
    };
    let is_two = |one: &[u8], next: &[u8]| {
        let is = |word: &[u8], known: [&[u8]; 2]| known.iter().any(|known| known.eq_ignore_ascii_case(word));
        is(one, [b"log", b"sign"]) && is(next, [b"in", b"on"])
    };
    let is_named = words(name).any(|word| LOGINS.iter().any(|known| is_it(word, known)))
        || words(name).zip(words(name).skip(1)).any(|(one, next)| is_two(one, next));
    (is_named || is_foreign_login(name)) && !words(name).any(|word| ASKED_OF_LOGINS.have(word))
}

/// Whether a name begins as those of logins do in other languages. Spanish begins a session, and much
/// else.
fn is_foreign_login(name: &[u8]) -> bool {
    let mut words = words(name);
    let Some(first) = words.next() else { return false };
    let mut begins_session =
        || words.next().is_none_or(|next| next.len() >= 4 && next[..4].eq_ignore_ascii_case(b"sesi"));
    FOREIGN_LOGINS.have(first) || first.eq_ignore_ascii_case(b"iniciar") && begins_session()
}

/// Whether a part of a path says which version of an interface is meant: `v1`.
fn is_version(part: &[u8]) -> bool {
    part.len() <= 4 && part.split_first().is_some_and(|(v, number)| *v == b'v' && decimal(number).is_some())
}

/// Whether the name of a page says that it changes something: a verb, with a word behind it at most
/// (`delete`, `change_password`, `deleteUser`). More words are a title.
fn is_change(name: &[u8]) -> bool {
    let mut words = name.split(|byte| b"-_".contains(byte));
    let first = words.next().unwrap_or(name);
    let is_it = |verb: &&[u8]| {
        let begins = first.get(..verb.len()).is_some_and(|head| head.eq_ignore_ascii_case(verb));
        begins && first.get(verb.len()).is_none_or(u8::is_ascii_uppercase)
    };
    words.count() <= 1 && CHANGES.iter().any(is_it)
}

/// Whether a parameter only tells how a visitor came, or in which language he reads.
fn tells_where_from(name: &[u8]) -> bool {
    name.starts_with(b"utm_") || ORIGINS.have(name)
}

/// Whether a parameter holds what nobody guesses, by its name or by how its value looks.
fn is_token((name, value): (&[u8], &[u8])) -> bool {
    let is_called_so =
        |end: &&[u8]| name.len().checked_sub(end.len()).is_some_and(|from| name[from..].eq_ignore_ascii_case(end));
    let is_of_its_kind = || TOKENS.iter().any(is_called_so) || is_random(value);
    value.len() >= TOKEN_BYTES && is_of_its_kind() || value.len() >= NONCE_BYTES && is_called_so(&&b"nonce"[..])
}

/// Whether a value is digits of a hash or a number in base 64: letters and digits in no order. A date
/// among words is none.
fn is_random(value: &[u8]) -> bool {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=.~".contains(byte);
    let has = |is: fn(&u8) -> bool| value.iter().any(is);
    if !value.iter().all(is_of_it) || !has(u8::is_ascii_digit) || !has(u8::is_ascii_alphabetic) {
        return false;
    }
    let kind = |byte: u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase(), byte.is_ascii_alphabetic());
    let is_change = |two: &&[u8]| two.iter().all(u8::is_ascii_alphanumeric) && kind(two[0]) != kind(two[1]);
    let is_hex = value.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    is_hex || value.windows(2).filter(is_change).count() * 4 >= value.len()
}

/// Whether a parameter asks for something to be changed: by its value, where it says what is to be
/// done, or by its name.
fn asks_for_change((name, value): (&[u8], &[u8])) -> bool {
    if name.eq_ignore_ascii_case(b"sql_query") {
        let end = value.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(value.len());
        return STATEMENTS.have(&value[..end]);
    }
    if VERB_KEYS.have(name) {
        return !value.is_empty();
    }
    let words = || value.split(|byte| b"._-:/".contains(byte)).take(WORDS_MAX);
    let is_of_user = || words().any(|word| USER_PARTS.have(word)) && words().any(|word| VERBS_OF_USERS.have(word));
    ACTIONS.have(name) && (words().any(|word| VERBS.have(word)) || is_of_user())
}

/// A try at a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    pub password: Option<u64>,
    pub name: Option<u64>,
    /// Hash of the user agent.
    pub agent: u64,
    /// Whether programs repeat such tries by themselves: the server asked for name and password, or
    /// none but programs log in there.
    pub is_repeated: bool,
    /// Whether a program was let in. It counts only where somebody guesses already.
    pub is_granted: bool,
    /// Whether who has a login sends other things there, too: only what is always answered alike is
    /// a guess.
    pub is_shared: bool,
    /// Whether it says that it is a browser, and comes from no page.
    pub is_bare: bool,
}

/// Where somebody logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Login {
    /// A page of people's. What its answer means is not known.
    Page,
    /// An address that is called a login, among those that programs ask.
    Api,
    /// An address that is called for who is let in: of pages with a form, and of what asks for more time.
    Auth,
    /// An address where programs get a token, with each call if they like.
    Token,
    /// Where WordPress takes calls of programs, each with a password or a signature of its own.
    Calls,
    /// A page of people's where they log in, and do other things once they are in.
    Shared,
}

/// What the folders of a program tell of it.
#[derive(Debug, Clone, Copy, Default)]
struct Folders {
    /// Whether it lies among what users sent.
    is_uploaded: bool,
    /// Whether a forge or a cloud shows it as text.
    is_shown: bool,
}

/// Whether a program in this folder is among what users sent, or shown as text: what comes first counts, for
/// whoever may send files gives folders the names that he likes.
fn folders_of(folder: &[u8]) -> Folders {
    let mut before = &b""[..];
    for part in folder.split(|byte| *byte == b'/') {
        let is_state = || before.eq_ignore_ascii_case(b"src") && STATES.have(part);
        let is_of_cloud = || before.eq_ignore_ascii_case(b"dav") && part.eq_ignore_ascii_case(b"files");
        if SHOWN.have(part) || is_state() || is_of_cloud() {
            return Folders { is_shown: true, ..Folders::default() };
        }
        if UPLOADED.have(part) {
            return Folders { is_uploaded: true, ..Folders::default() };
        }
        before = part;
    }
    Folders::default()
}

/// What stands before a path's last part, and that part.
fn last_part(path: &[u8]) -> (&[u8], &[u8]) {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let slash = memchr::memrchr(b'/', path);
    (&path[..slash.unwrap_or(0)], &path[slash.map_or(0, |slash| slash + 1)..])
}

fn extension(path: &[u8]) -> Option<&[u8]> {
    let tail = &path[path.len().saturating_sub(8)..];
    let dot = memchr::memrchr(b'.', tail)?;
    let end = &tail[dot + 1..];
    (!end.contains(&b'/')).then_some(end)
}

/// A path without the end of its name, if that has one.
fn stem(path: &[u8]) -> Option<&[u8]> {
    extension(path).map(|end| &path[..path.len() - end.len() - 1])
}

fn decimal(text: &[u8]) -> Option<i64> {
    let fits = (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
}

/// Whether quotes, brackets or comparisons stand in a value, as they are or in the code of
/// URLs; an apostrophe alone does in names.
fn is_odd(value: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'(' | b')' | b'<' | b'>' | b'|' | b';' | b'`' | b'\'' | b'"');
    let coded = |at: usize| {
        matches!(
            value.get(at + 1..at + 3),
            Some(
                b"27"
                    | b"22"
                    | b"28"
                    | b"29"
                    | b"3C"
                    | b"3c"
                    | b"3E"
                    | b"3e"
                    | b"3D"
                    | b"3d"
                    | b"7C"
                    | b"7c"
                    | b"3B"
                    | b"3b"
            )
        )
    };
    value.iter().any(plain) || memchr::memchr_iter(b'%', value).any(coded)
}

/// Whether a value has quotes, and each is closed.
fn is_quoted(value: &[u8]) -> bool {
    let count = |plain: u8, coded: &[u8]| {
        let is_coded = |at: &usize| value.get(at + 1..at + 3) == Some(coded);
        memchr::memchr_iter(plain, value).count() + memchr::memchr_iter(b'%', value).filter(is_coded).count()
    };
    let (single, double) = (count(b'\'', b"27"), count(b'"', b"22"));
    single + double > 0 && single.is_multiple_of(2) && double.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::Format;

    fn with<T>(line: &str, look: impl FnOnce(Request<'_>) -> T) -> T {
        let parsed = Format::Combined.parse(line.as_bytes());
        look(Request::of(parsed.access().unwrap(), Key::of("h")))
    }

    fn get(target: &str) -> String {
        format!(
            r#"192.0.2.7 - - [16/Nov/2026:08:00:25 +0000] "GET {target} HTTP/1.1" 200 5 "http://h.lab/p/?q=1" "curl/7""#
        )
    }

    #[test]
    fn a_login_is_told_by_its_path_or_by_what_is_sent() {
        let attempt = |line: &str| with(line, |request| request.attempt(Key::of("h")));
        let post = get("/DVWA/login.php").replace("GET", "POST");
        let tried = attempt(&post).unwrap();
        assert_eq!((tried.password, tried.name), (None, None));
        assert!(!tried.is_repeated && !tried.is_granted && !tried.is_shared && !tried.is_bare);
        assert_eq!(attempt(&get("/DVWA/login.php")), None);
        assert_eq!(attempt(&get("/search?q=password")), None);
        let tried = attempt(&get("/brute/?username=admin&password=REDACTED-0a1b&Login=Login")).unwrap();
        let again = attempt(&get("/brute/?username=admin&password=REDACTED-0a1c&Login=Login")).unwrap();
        assert!(tried.name == again.name && tried.password != again.password);
        assert!(attempt(&post.replace("- - [", "- bob [").replace(" 200 ", " 401 ")).unwrap().is_repeated);
    }

    #[test]
    fn a_session_is_told_from_query_and_cookies() {
        let of = |format: &str, line: &str| {
            let format: Format = format.parse().unwrap();
            let parsed = format.parse(line.as_bytes());
            let access = parsed.access().unwrap();
            Request::of(access, Key::of("h")).session(access).map(|session| session.to_vec())
        };
        let line = r#"192.0.2.7 [16/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.1" "a=1; PHPSESSID=x7""#;
        assert_eq!(of(r#"%h %t "%r" "%{Cookie}i""#, line), Some(b"x7".to_vec()));
        let line = r#"192.0.2.7 [16/Nov/2026:12:00:00 +0000] "GET /a HTTP/1.1" "x8""#;
        assert_eq!(of(r#"%h %t "%r" "%{JSESSIONID}C""#, line), Some(b"x8".to_vec()));
        let line = r#"192.0.2.7 [16/Nov/2026:12:00:00 +0000] "GET /a?sid=x9&b=1 HTTP/1.1""#;
        assert_eq!(of(r#"%h %t "%r""#, line), Some(b"x9".to_vec()));
    }

    #[test]
    fn a_page_that_was_come_from_is_told_by_host_and_path() {
        with(&get("/"), |request| assert_eq!(request.from(), Some((&b"h.lab"[..], &b"/p/"[..]))));
    }

    #[test]
    fn a_script_among_uploads_is_told_from_other_scripts() {
        assert!(with(&get("/hackable/uploads/x.php?cmd=id"), |request| request.is_uploaded_script()));
        assert!(!with(&get("/uploads.php"), |request| request.is_uploaded_script()));
        assert!(!with(&get("/uploads/x.png"), |request| request.is_uploaded_script()));
    }

    #[test]
    fn a_token_is_told_from_words_numbers_and_dates() {
        for token in
            ["9f86d081884c7d659a2feaa0c55ad015", "123e4567-e89b-12d3-a456-426614174000", "mF9Zs2xQ7bLw0RtYpA3k"]
        {
            assert!(is_token((b"t", token.as_bytes())), "{token}");
        }
        assert!(is_token((b"reset_token", b"correct-horse-battery")));
        for value in [
            "report-2026-final-draft",
            "Report-2026-Final-Draft-v2",
            "1234567890123456",
            "abcdef",
            "internationalisation",
        ] {
            assert!(!is_token((b"name", value.as_bytes())), "{value}");
        }
    }

    #[test]
    fn what_stands_in_conditions_is_odd_and_words_are_not() {
        assert!(is_odd(b"1%27+and+1%3D1") && is_odd(b"a'b") && !is_odd(b"wool+coat") && !is_odd(b"caf%C3%A9"));
    }
}
