"""What holds for every file: SQL is constant, modules say what they are, secrets stay out."""

import ast
import re
from collections.abc import Iterator

import pytest

from common import api_keys
from tests.architecture.sources import ROOT, parsed, python_files, tracked_files

NO_DATABASES = frozenset({"_backends", "probe"})  # they have methods of the same names
STATEMENTS = frozenset(
    {"copy_from_query", "cursor", "execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare"}
)

# Statements that are not one constant: file, function → why no client's text can be part of them.
PUT_TOGETHER = {
    ("core_service/modules/expenses/store.py", "list_expenses"): "conditions chosen from a constant dictionary",
    ("auth_service/migrations/auth_0001_accounts.py", "upgrade"): "a loop over constants of the file",
    ("auth_service/migrations/auth_0001_accounts.py", "downgrade"): "table names from a constant of the file",
    ("ops/backup/database.py", "_count"): "psycopg.sql quotes names from the catalogue",
    ("ops/migrate/copying.py", "_create"): "psycopg.sql quotes names of databases, ours and the copied one's",
    ("ops/migrate/copying.py", "_drop"): "psycopg.sql quotes the name of the copy",
    ("ops/migrate/copying.py", "_make_extensions"): "psycopg.sql quotes names the copied database told",
    ("ops/migrate/copying.py", "_value"): "runs the constants of its file",
    ("ops/migrate/database.py", "_ensure_schema"): "psycopg.sql quotes a name of ours",
    ("ops/migrate/roles.py", "_ensure_role"): "psycopg.sql quotes role and verifier",
    ("ops/migrate/roles.py", "_grant"): "psycopg.sql quotes the names in constant statements",
    ("ops/setup/server.py", "_run"): "constant statements with quoted names of ours; they are printed too",
}


class Statements(ast.NodeVisitor):
    """Finds the function around each statement that is neither a literal nor a constant by its name."""

    def __init__(self) -> None:
        self.checked = 0
        self.found: list[tuple[str, int]] = []
        self._functions: list[str] = []

    def generic_visit(self, node: ast.AST) -> None:
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_function:
            self._functions.append(node.name)  # type: ignore[attr-defined]
        elif isinstance(node, ast.Call):
            self._look_at(node)
        super().generic_visit(node)
        if is_function:
            self._functions.pop()

    def _look_at(self, call: ast.Call) -> None:
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in STATEMENTS:
            return
        receiver = ast.unparse(call.func.value).rpartition(".")[2]
        if call.args and receiver not in NO_DATABASES:
            self.checked += 1
            if not _is_constant(call.args[0]):
                self.found.append((self._functions[-1] if self._functions else "", call.lineno))


def _is_constant(statement: ast.expr) -> bool:
    if isinstance(statement, ast.Attribute):
        return statement.attr.isupper()
    return isinstance(statement, ast.Constant) or (isinstance(statement, ast.Name) and statement.id.isupper())


def statements() -> Iterator[tuple[str, Statements]]:
    for path, tree in parsed():
        visitor = Statements()
        visitor.visit(tree)
        yield path, visitor


def test_no_statement_is_put_together_where_requests_are_handled() -> None:
    found = {(path, function): line for path, visitor in statements() for function, line in visitor.found}
    unexplained = [f"{path}:{line} in {function}" for (path, function), line in found.items()]
    assert sorted(found) == sorted(PUT_TOGETHER), unexplained


def test_check_of_statements_sees_them() -> None:
    assert sum(visitor.checked for _, visitor in statements()) > 50
    visitor = Statements()
    visitor.visit(ast.parse('def f(c, name):\n    c.fetch(f"SELECT {name}")\n    c.execute("SELECT %s" % name)'))
    assert visitor.found == [("f", 2), ("f", 3)]


def test_every_module_says_what_it_is() -> None:
    silent = [path for path, tree in parsed() if not ast.get_docstring(tree)]
    assert silent == []


def test_no_file_has_outgrown_its_idea() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: size for name, size in sizes.items() if size > 350} == {}


SECRETS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{20}"),
    "token of a cloud or forge": re.compile(r"\b(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|xox[baprs]-[\w-]{20,})"),
    "key of a model provider": re.compile(r"\bsk-(?:proj-|or-v1-)?[A-Za-z0-9_-]{40,}"),
}
KEY_LIKE = re.compile(r"sk_live_[0-9A-Za-z]{36}")
STATE = re.compile(r"(^|/)(\.env|gatehouse\.json|acme\.json|.*\.(pem|key|p12|dump))$|^var/")


def secrets_in(text: str) -> list[str]:
    """What kinds of secret a text holds; an API key counts when its check characters are right."""
    found = [kind for kind, pattern in SECRETS.items() if pattern.search(text)]
    if any(api_keys.is_well_formed(key) for key in KEY_LIKE.findall(text)):
        found.append("API key")
    return found


def test_no_secret_is_tracked() -> None:
    files = {
        path.relative_to(ROOT).as_posix(): path.read_bytes().decode("utf-8", "replace") for path in tracked_files()
    }
    assert len(files) > 100
    assert {name: kinds for name, text in files.items() if (kinds := secrets_in(text))} == {}
    assert [name for name in files if STATE.search(name)] == []


@pytest.mark.parametrize(
    "text",
    [
        api_keys.make(),
        "-----BEGIN PRIVATE KEY-----\n" + "A" * 64,
        "-----BEGIN RSA PRIVATE KEY-----\n" + "A" * 64,
        "AKIA" + "A" * 16,
        "ghp_" + "a" * 36,
        "sk-" + "a" * 48,
    ],
)
def test_scan_finds_each_kind(text: str) -> None:
    assert len(secrets_in(f"KEY = {text!r}".replace("\\n", "\n"))) == 1
