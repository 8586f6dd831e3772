"""Random words, names, paths, patterns and lines: the things the model must copy and can never have learnt by heart."""

from random import Random

ENGLISH = (
    "able about above after again air all also always and animal answer any apple are area arm art ask away back bag ball bank base bear "
    "because bed before begin best better big bird black blue boat body book both box boy bread bridge bring brother brown build busy buy "
    "call can car card care carry cat catch cause chair change check child city class clean clear clock close cloud coat cold color come "
    "cook cool corner count country course cover cross cup cut dance dark day deep desk dinner dog door down draw dream dress drink drive "
    "drop dry each ear early earth east easy eat edge egg eight end every eye face fact fall family far farm fast father field fine fire "
    "first fish five flag floor flower fly follow food foot forest four free fresh friend from front fruit full game garden gate get girl "
    "give glass gold good grass great green ground group grow hair half hall hand happy hard hat have head hear heart heavy help here high "
    "hill hold home horse hot hour house idea inside into island job join jump just keep key kind king kitchen know lake land large last "
    "late laugh lead leaf learn left leg letter light like line lion list little live long look lost loud love low lunch machine make many "
    "map mark market may meet milk mind minute moon more morning mother mountain mouth move much music must name near neck need never new "
    "next nice night nine noise north nose note now number ocean often old one open orange order other out over page paint paper park part "
    "party pass path people perhaps person picture piece place plain plan plant play please point poor press pretty pull push put queen "
    "question quick quiet rain reach ready real red rest rich ride right ring river road rock room rose round rule run safe salt same sand "
    "say school sea season second see seven shall shape share sharp ship shirt shoe shop short show side sign silver simple sing sister sit "
    "six size skin sky sleep slow small smile snow soft some song soon sound south space speak spring stand star start stay step still stone "
    "stop store storm story street strong summer sun sure sweet swim table tail take talk tall teach tell ten test than that the then there "
    "thing think this three time today together tomorrow tool top touch town train travel tree true try turn two under until use very view "
    "voice wait walk wall want warm watch water way weather week well west what when where which white who why wide wild will wind window "
    "winter wish with wolf woman wonder wood word work world write year yellow yes yet you young zoo"
).split()

CODE = (
    "alpha api app args async auth backup beta bin buffer build cache cargo chat client cmd code command common compose config const core count "
    "crates data debug default demo deploy docs docker engine error example export file fn foo gateway git handler hello help import index "
    "init input lib list load local log main make manager message mock mod model module name node notes npm open output package parse path "
    "print pub python query queue readme request result return router run rust save script server service session setup src state "
    "status stop store stream string struct sum sync system table task temp test tests text todo token tool tools types update user util utils "
    "value version view warn web worker write"
).split()

ONSETS = "b bl br c ch cl d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sh sk sl sn st t th tr v w x y z".split()
VOWELS = "a e i o u ai ea ee ou oo".split()
CODAS = ["", "", "", "b", "ck", "d", "g", "k", "l", "m", "n", "nd", "p", "r", "rt", "s", "st", "t", "x"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ACCENTED = ["größe", "café", "naïve", "señor", "żółw", "привет", "мир", "日本", "東京", "안녕", "مرحبا", "🙂", "🚀", "→", "€", "ñandú", "Ωmega", "½", "été"]

EXTENSIONS = "rs py md txt toml json yaml yml ts js tsx html css sh c h cpp go lock csv log sql xml cfg ini jinja pym".split()
FOLDERS = "src docs tests notes lib scripts crates agents data config app web tools".split()
FILES = "README.md Cargo.toml main.rs lib.rs package.json setup.py notes.txt todo.txt index.html main.py mod.rs LICENSE Makefile Dockerfile compose.yml bundle.yaml .env .gitignore hello.txt".split()


def syllables(rng: Random) -> str:
    """A word that does not exist but can be spoken."""
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(rng.choice([1, 2, 2, 3])))


def noise(rng: Random) -> str:
    """A word that cannot be spoken: letters, and now and then digits."""
    alphabet = LETTERS + "0123456789" if rng.random() < 0.4 else LETTERS
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 8)))


def word(rng: Random) -> str:
    """A lower-case word without spaces."""
    make = rng.choices([lambda: rng.choice(ENGLISH), lambda: rng.choice(CODE), lambda: syllables(rng), lambda: noise(rng)], [3, 3, 5, 1])[0]
    return make()


def cased(rng: Random, text: str) -> str:
    """The word as it is, capitalised or in capitals."""
    return rng.choices([text, text.capitalize(), text.upper()], [8, 2, 1])[0]


def identifier(rng: Random) -> str:
    """A name as programs have them: snake_case, kebab-case, CamelCase or CAPITALS."""
    parts = [word(rng) for _ in range(rng.choice([1, 2, 2, 3]))]
    return rng.choice(["_".join(parts), "_".join(parts), "-".join(parts), "".join(p.capitalize() for p in parts), "_".join(parts).upper()])


def phrase(rng: Random, low: int = 1, high: int = 8) -> str:
    """A few words to repeat, some with capitals, numbers, punctuation or letters from elsewhere."""
    parts = [cased(rng, word(rng)) for _ in range(rng.randint(low, high))]
    if rng.random() < 0.2:
        parts.insert(rng.randint(0, len(parts)), str(rng.randint(0, 10 ** rng.randint(1, 5))))
    if rng.random() < 0.12:
        parts.insert(rng.randint(0, len(parts)), rng.choice(ACCENTED))
    if rng.random() < 0.15:
        parts[rng.randrange(len(parts))] += ","
    return " ".join(parts).rstrip(",") + rng.choices(["", "!", ".", "?"], [8, 1, 1, 1])[0]


def sentence(rng: Random) -> str:
    """Prose without meaning."""
    return " ".join(rng.choice(ENGLISH) if rng.random() < 0.9 else word(rng) for _ in range(rng.randint(3, 12))).capitalize() + "."


def stem(rng: Random) -> str:
    """The name of a file or folder, without its extension."""
    return rng.choice([word, word, identifier])(rng)


def path(rng: Random) -> str:
    """A file's path: relative, dotted or absolute, at most four parts."""
    folders = [rng.choice(FOLDERS) if rng.random() < 0.4 else stem(rng) for _ in range(rng.choices([0, 1, 2, 3], [3, 5, 3, 1])[0])]
    name = rng.choice(FILES) if rng.random() < 0.2 else f"{stem(rng)}.{rng.choice(EXTENSIONS)}"
    return rng.choices(["", "./", "/", "../"], [12, 1, 2, 1])[0] + "/".join([*folders, name])


def glob_pattern(rng: Random) -> str:
    """A file name pattern with at least one star."""
    extension = rng.choice(EXTENSIONS)
    return rng.choice([
        f"*.{extension}", f"*.{extension}", f"**/*.{extension}", f"{stem(rng)}/*.{extension}", f"{rng.choice(FOLDERS)}/**/*.{extension}",
        f"{stem(rng)}*", f"*{stem(rng)}*", f"{stem(rng)}_*.{extension}", f"**/{stem(rng)}.*", f"*_{stem(rng)}.{extension}",
    ])


def text_pattern(rng: Random) -> str:
    """What one searches for in files."""
    return rng.choice([
        rng.choice(["TODO", "FIXME", "unwrap", "hello", "main", "error"]), identifier(rng), identifier(rng), cased(rng, word(rng)),
        f"fn {identifier(rng)}", f"class {identifier(rng)}", f"def {identifier(rng)}", f"{word(rng)} {word(rng)}", f"{identifier(rng)}(",
        f"{word(rng)}|{word(rng)}", f"use {word(rng)}::{word(rng)}", f"{word(rng)}.*{word(rng)}", f"import {word(rng)}",
    ])


def command(rng: Random) -> str:
    """A shell command without quotes or backslashes, which JSON would have to escape."""
    return rng.choice([
        rng.choice(["cargo test", "cargo build", "cargo fmt", "cargo clippy", "ls", "ls -la", "pwd", "date", "git status", "git diff", "git log", "npm test", "make", "uname -a", "whoami", "df -h"]),
        f"cargo test {identifier(rng)}", f"cargo run --bin {stem(rng)}", f"ls -l {rng.choice(FOLDERS)}", f"cat {path(rng)}",
        f"echo {word(rng)} {word(rng)}", f"echo {word(rng)}", f"python3 {path(rng)}", f"python {path(rng)} --{word(rng)}", f"wc -l {path(rng)}",
        f"git {word(rng)} {word(rng)}", f"npm run {stem(rng)}", f"make {stem(rng)}", f"grep -rn {word(rng)} {rng.choice(FOLDERS)}",
        f"{word(rng)} --{word(rng)} {rng.randint(0, 999)}", f"{word(rng)} {word(rng)} {path(rng)}", f"mkdir -p {word(rng)}/{word(rng)}",
        f"ls {word(rng)} | wc -l", f"rm {path(rng)}", f"cd {word(rng)} && {word(rng)} {word(rng)}",
    ])


def code_line(rng: Random) -> str:
    """A line that looks like a program's, with its indentation."""
    return "    " * rng.choice([0, 0, 1, 2]) + rng.choice([
        f"let {word(rng)} = {identifier(rng)}({word(rng)});", f"fn {identifier(rng)}() {{", "}", f"def {identifier(rng)}({word(rng)}):",
        f"import {word(rng)}", f"use {word(rng)}::{word(rng)};", f"// {sentence(rng)}", f"# {sentence(rng)}", f"return {identifier(rng)}",
        f"{word(rng)} = {rng.randint(0, 9999)}", f"{word(rng)}: {word(rng)}", f'{word(rng)} = "{word(rng)}"', f"- {word(rng)} {word(rng)}",
        f"pub struct {identifier(rng)};", f"print({word(rng)})", "",
    ])


def output_line(rng: Random) -> str:
    """A line as a command prints it."""
    return rng.choice([
        f"test {identifier(rng)} ... ok", f"test {identifier(rng)} ... FAILED", f"test result: ok. {rng.randint(0, 99)} passed; 0 failed",
        f"error: {sentence(rng)}", f"warning: {sentence(rng)}", f"Finished in {rng.randint(0, 99)}.{rng.randint(0, 9)}s", f"{rng.randint(0, 9999)} {path(rng)}",
        f" M {path(rng)}", f"total {rng.randint(0, 999)}", phrase(rng), phrase(rng), f"-rw-r--r-- 1 {word(rng)} {word(rng)} {rng.randint(0, 99999)} {stem(rng)}",
        "exit code: 0", f"{word(rng)} {rng.randint(0, 9)}.{rng.randint(0, 99)}.{rng.randint(0, 9)}",
    ])
