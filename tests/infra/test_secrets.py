"""make-secrets: random, readable by the owner alone, never written over."""

import configparser
import json
import stat

from tests.infra.servers import INFRA, run_script


def test_each_secret_is_another_random_text(secrets):
    texts = {path.name: path.read_text() for path in secrets.iterdir()}
    assert len(set(texts.values())) == len(texts) == 8
    assert all(len(text) >= 20 for text in texts.values())


def test_only_the_owner_enters_the_folder(secrets):
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700


def test_what_exists_is_kept(secrets):
    before = {path: path.read_text() for path in secrets.iterdir()}
    (secrets / "ray_token").write_text("")
    assert run_script("make-secrets", secrets).returncode == 0
    after = {path: path.read_text() for path in secrets.iterdir()}
    changed = [path.name for path in before if before[path] != after[path]]
    assert changed == ["ray_token"] and len(after[secrets / "ray_token"]) == 48
    (secrets / "ray_token").write_text(before[secrets / "ray_token"])


def test_the_store_knows_the_keys_of_its_clients(secrets):
    (user,) = json.loads((secrets / "s3_users.json").read_text())["identities"]
    keys = configparser.ConfigParser()
    keys.read(secrets / "s3_credentials")
    (pair,) = user["credentials"]
    assert pair == {
        "accessKey": keys["default"]["aws_access_key_id"],
        "secretKey": keys["default"]["aws_secret_access_key"],
    }
    assert len(pair["accessKey"]) == 20 and len(pair["secretKey"]) == 48


def test_git_ignores_the_folder():
    assert "secrets/" in (INFRA / ".gitignore").read_text().splitlines()
