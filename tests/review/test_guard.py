"""Requests to a dashboard that is served, as browsers send them."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import optuna
import optuna_dashboard
import pytest
from handmade_study import create, fill

from autoprune.review.dashboard import _listen
from autoprune.review.guard import Names, guarded
from autoprune.review.publish import artifact_store


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a dashboard that listens on 127.0.0.1."""
    url = f"sqlite:///{tmp_path_factory.mktemp('guard') / 'study.db'}"
    storage = optuna.storages.InMemoryStorage()
    study = create(storage)
    fill(study)
    store = artifact_store(url)
    page = "0" * 8
    store.folder.replace(page, b"<script>alert(1)</script>")
    (store.folder.path / "1").symlink_to(Path(__file__))
    store.folder.replace("2", b"alert(1)")
    for key, kind in ((page, "text/html"), ("1", "text/html"), ("2", "text/JavaScript")):
        meta = f'{{"artifact_id": "{key}", "filename": "x", "mimetype": "{kind}", "encoding": null}}'
        storage.set_study_system_attr(study._study_id, f"artifacts:{key}", meta)
    with _listen("127.0.0.1", 0) as server:
        app = optuna_dashboard.wsgi(storage, artifact_store=store)
        server.set_app(guarded(app, Names.of("127.0.0.1", server.server_port), store))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(
    port: int, method: str = "GET", path: str = "/api/studies", **headers: str
) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value.replace("PORT", str(port)))
    connection.endheaders()
    answer = connection.getresponse()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, found, answer.read().decode(errors="replace")


@pytest.mark.parametrize("host", ["127.0.0.1:PORT", "localhost:PORT", "LOCALHOST:PORT", "[::1]:PORT"])
def test_its_own_names_are_answered(port: int, host: str) -> None:
    assert ask(port, Host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:PORT",
        "localhost.evil.example:PORT",
        "127.0.0.1",
        "localhost:1",
        "10.0.0.5:PORT",
        "",
        "[",
        "a b",
    ],
)
def test_other_names_are_refused(port: int, host: str) -> None:
    status, _, text = ask(port, Host=host)
    assert status == 403
    assert "open the address that it printed" in text and "digits" not in text


def test_a_request_without_a_name_is_refused(port: int) -> None:
    assert ask(port)[0] == 403


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://localhost:PORT", "http://localhost:1"]
)
def test_pages_of_other_sites_are_refused(port: int, method: str, origin: str) -> None:
    status, headers, text = ask(port, method, "/api/studies/0", Host="localhost:PORT", Origin=origin)
    assert status == 403 and "another site" in text
    assert "access-control-allow-origin" not in headers


def test_its_own_pages_may_change_things(port: int) -> None:
    own = {"Host": "localhost:PORT", "Origin": "http://localhost:PORT"}
    assert ask(port, "PUT", "/api/studies/0/note", **own)[0] != 403
    assert "digits" in ask(port, Host="localhost:PORT", Origin="http://localhost:PORT")[2]


def test_a_file_is_served_as_one_and_runs_nothing(port: int) -> None:
    status, headers, text = ask(port, path=f"/artifacts/0/{'0' * 8}", Host="localhost:PORT")
    assert (status, text) == (200, "<script>alert(1)</script>")
    assert headers["content-security-policy"].startswith("sandbox;")
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path", ["/artifacts/0/FILE//", "/artifacts/0%FF/FILE", "/%FFartifacts/0/FILE", "/artifacts/%D9%A0/FILE"]
)
def test_a_file_runs_nothing_however_its_path_is_written(port: int, path: str) -> None:
    status, headers, text = ask(port, path=path.replace("FILE", "0" * 8), Host="localhost:PORT")
    assert (status, text) == (200, "<script>alert(1)</script>")
    assert headers["content-security-policy"].startswith("sandbox;")


def test_a_script_is_served_as_text_so_that_no_page_can_load_it(port: int) -> None:
    status, headers, text = ask(port, path="/artifacts/0/2", Host="localhost:PORT")
    assert (status, text) == (200, "alert(1)")
    assert headers["content-type"].startswith("text/plain") and headers["x-content-type-options"] == "nosniff"
    assert (
        "javascript"
        in ask(port, path="/static/bundle.js", Host="localhost:PORT", Accept_Encoding="")[1]["content-type"]
    )


def test_pages_may_run_their_own_scripts(port: int) -> None:
    headers = ask(port, path="/dashboard/", Host="localhost:PORT")[1]
    assert "sandbox" not in headers["content-security-policy"]


def test_a_link_is_not_served(port: int) -> None:
    status, _, text = ask(port, path="/artifacts/0/1", Host="localhost:PORT")
    assert status == 404 and "import" not in text


@pytest.mark.parametrize(
    ("host", "meant", "others"),
    [
        ("0.0.0.0", ["10.0.0.5:80", "localhost", "[fe80::1]:80"], ["evil.example", "10.0.0.5:8080"]),
        ("::", ["10.0.0.5", "[::1]"], ["evil.example"]),
        ("10.0.0.5", ["10.0.0.5"], ["localhost", "127.0.0.1", "10.0.0.6", "evil.example"]),
        ("Studies.invalid", ["studies.invalid", "studies.invalid."], ["10.0.0.5", "x.studies.invalid"]),
        ("127.0.0.2", ["127.0.0.2", "localhost"], ["127.0.0.3"]),
    ],
)
def test_the_names_follow_what_was_asked_for(host: str, meant: list[str], others: list[str]) -> None:
    names = Names.of(host, 80)
    assert [name for name in meant if not names.include(name)] == []
    assert [name for name in others if names.include(name)] == []
