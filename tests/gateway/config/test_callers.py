"""[callers] and [jwt]: what is accepted, and each problem with the path of its key."""

from pathlib import Path

import pytest

from gateway.config import (
    CallerSettings,
    ConfigInvalid,
    JwtSettings,
    Settings,
    changes,
    load,
    requires_restart,
    warnings,
)
from tests.support.callers import AUDIENCE, ISSUER, JWT
from tests.support.configured import GOOD_PROVIDER

TLS = 'tls = { cert = "cert.pem", key = "key.pem", client_ca = "ca.pem" }\n'
ONE = '[callers.one]\nroles = ["reader"]\n'
TWO = '[callers.two]\nroles = ["closer"]\n'


def read(folder: Path, text: str, grpc: str = TLS) -> Settings:
    for name in ("cert.pem", "key.pem", "ca.pem", "jwks.json"):
        (folder / name).write_text("")
    path = folder / "gateway.toml"
    path.write_text(f"[grpc]\n{grpc}\n{text}")
    return load(path, {})


def problems(folder: Path, text: str, grpc: str = TLS) -> dict[str, str]:
    with pytest.raises(ConfigInvalid) as refused:
        read(folder, text, grpc)
    return {problem.path: problem.message for problem in refused.value.problems}


def test_callers_are_read(tmp_path: Path) -> None:
    """Each kind of identity, roles, methods and providers are read; DNS names in lower case."""
    settings = read(
        tmp_path,
        f"""{JWT}
        [callers.launcher]
        certificate = "dns:Launcher.internal"
        jwt_subject = "Launcher"
        roles = ["launcher", "SessionService/CloseSession"]
        providers = ["acme"]
        [callers.mesh-1]
        certificate = "uri:spiffe://Example.org/Mesh"
        roles = ["reader"]
        [providers.acme]
        {GOOD_PROVIDER}""",
    )
    assert settings.jwt == JwtSettings(ISSUER, AUDIENCE, tmp_path / "jwks.json")
    assert settings.callers == {
        "launcher": CallerSettings(
            "dns:launcher.internal", "Launcher", ("launcher", "SessionService/CloseSession"), ("acme",)
        ),
        "mesh-1": CallerSettings("uri:spiffe://Example.org/Mesh", None, ("reader",)),
    }


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("[callers]", "callers", "names no caller"),
        ("[callers]\none = 1", "callers.one", "must be a table"),
        ('[callers.Launcher]\nroles = ["reader"]\njwt_subject = "a"', "callers.Launcher", "a-z"),
        ('[callers.anonymous]\nroles = ["reader"]\njwt_subject = "a"', "callers.anonymous", "another name"),
        (ONE, "callers.one.certificate", "jwt_subject"),
        ('[callers.one]\njwt_subject = "a"', "callers.one.roles", "names none"),
        ('[callers.one]\njwt_subject = "a"\nroles = []', "callers.one.roles", "names none"),
        (ONE.replace('"reader"', '"Reader role"') + 'jwt_subject = "a"', "callers.one.roles[0]", "must be a role"),
        (ONE.replace('"reader"', '"a/b/c"') + 'jwt_subject = "a"', "callers.one.roles[0]", "must be a role"),
        (ONE + 'jwt_subject = "a"\nproviders = []', "callers.one.providers", "names none"),
        (ONE + 'jwt_subject = "a\\nb"', "callers.one.jwt_subject", "ASCII"),
        (ONE + 'jwt_subject = ""', "callers.one.jwt_subject", "empty"),
        (ONE + 'certificate = "launcher.internal"', "callers.one.certificate", "with its kind"),
        (ONE + 'certificate = "cn:launcher"', "callers.one.certificate", "with its kind"),
        (ONE + 'certificate = "dns:"', "callers.one.certificate", "with its kind"),
        (ONE + 'jwt_subject = "a"\nrole = "x"', "callers.one.role", "roles"),
        ('[jwt]\nissuer = "i"\naudience = "a"\njwks_file = "no.json"', "jwt.jwks_file", "cannot be read"),
        ('[jwt]\nissuer = ""\naudience = "a"\njwks_file = "jwks.json"', "jwt.issuer", "empty"),
        ('[jwt]\nissuer = "i"\njwks_file = "jwks.json"', "jwt.audience", "is missing"),
    ],
)
def test_an_invalid_caller_is_a_problem(tmp_path: Path, text: str, path: str, message: str) -> None:
    """The problem has the path of the key, and says what to write."""
    found = problems(tmp_path, text if "[jwt]" in text else f"{text}\n{JWT}")
    assert message in found[path]


@pytest.mark.parametrize(
    "names", [("dns:one.internal", "dns:ONE.internal"), ("uri:a", "uri:a"), ("email:A@b", "email:a@B")]
)
def test_one_name_is_one_caller(tmp_path: Path, names: tuple[str, str]) -> None:
    """One subject alternative name for two callers is refused; with another kind it is another name."""
    text = f'{ONE}certificate = "{names[0]}"\n{TWO}certificate = "{{}}"\n'
    assert "callers.one.certificate" in problems(tmp_path, text.format(names[1]))["callers.two.certificate"]
    assert len(read(tmp_path, text.format("dns:other.internal")).callers) == 2


def test_one_subject_is_one_caller(tmp_path: Path) -> None:
    """One jwt_subject for two callers is refused; subjects are compared exactly."""
    text = f'{JWT}{ONE}jwt_subject = "a"\n{TWO}jwt_subject = "{{}}"\n'
    assert "callers.one.jwt_subject" in problems(tmp_path, text.format("a"))["callers.two.jwt_subject"]
    assert len(read(tmp_path, text.format("A")).callers) == 2


@pytest.mark.parametrize(
    ("grpc", "message"),
    [
        ("", "client_ca"),
        ('tls = { cert = "cert.pem", key = "key.pem" }', "client_ca"),
        ('server = "native"', "by JWT only"),
    ],
)
def test_certificates_need_a_listener_that_asks_for_them(tmp_path: Path, grpc: str, message: str) -> None:
    """A caller by certificate needs client_ca, and the native server cannot have one."""
    found = problems(tmp_path, f'{ONE}certificate = "dns:one.internal"', grpc)
    assert message in found["callers.one.certificate"]


def test_subjects_need_an_issuer(tmp_path: Path) -> None:
    """A jwt_subject without [jwt] is refused, on both servers."""
    for grpc in (TLS, 'server = "native"'):
        assert "[jwt]" in problems(tmp_path, f'{ONE}jwt_subject = "a"', grpc)["callers.one.jwt_subject"]


def test_with_callers_the_listener_may_be_anywhere(tmp_path: Path) -> None:
    """With callers no allow_anyone is needed; tokens that travel in clear are a warning, and [jwt] alone is one."""
    listen = 'listen = "0.0.0.0:50051"\n'
    text = f'{JWT}{ONE}jwt_subject = "a"\n'
    (warning,) = warnings(read(tmp_path, text, listen))
    assert warning.path == "grpc.listen"
    assert "those of callers" in warning.message
    assert warnings(read(tmp_path, text, listen + TLS)) == ()
    assert [each.path for each in warnings(read(tmp_path, JWT))] == ["jwt"]
    assert "grpc.listen" in problems(tmp_path, text, listen + 'server = "native"')


def test_callers_can_be_reloaded(tmp_path: Path) -> None:
    """Callers and [jwt] need no restart; reflection does."""
    before = read(tmp_path, "")
    after = read(tmp_path, f'{JWT}{ONE}jwt_subject = "a"\n')
    assert changes(before, after).changed == ("callers.one", "jwt")
    assert requires_restart(changes(before, after)) == ()
    closed = changes(before, read(tmp_path, "", TLS + "reflection = false"))
    assert [problem.path for problem in requires_restart(closed)] == ["grpc.reflection"]
