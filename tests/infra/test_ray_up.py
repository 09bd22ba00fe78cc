"""The `ray up` file: Ray's own checks, and its bootstrap against an AWS that is played by moto."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.infra.servers import INFRA, S3, clean_environment

FILE = INFRA / "ray-up" / "aws.yaml"
ROOT = INFRA.parent
# Ray keeps what it has looked up in AWS for the life of a process.
BOOTSTRAP = """
import json, sys, yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.util import prepare_config
config = bootstrap_aws(prepare_config(yaml.safe_load(sys.stdin)))
print(json.dumps({name: kind["node_config"] for name, kind in config["available_node_types"].items()}))
"""


@pytest.fixture(scope="module")
def config() -> dict:
    return yaml.safe_load(FILE.read_text())


@pytest.fixture
def account(tmp_path):
    """What AWS's clients have in their environment, with an AWS of the test's own."""
    with S3(tmp_path / "aws") as server:
        yield {
            "AWS_ENDPOINT_URL": server.address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-west-2",
            "HOME": tmp_path,
        }


def prepare(account: dict, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, INFRA / "ray-up" / "prepare-aws", *words],
        env=clean_environment(account), capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_ray_accepts_the_file(config, monkeypatch):
    monkeypatch.chdir(ROOT)
    validate_config(prepare_config(config))


def test_ray_refuses_a_misspelt_key(config, monkeypatch):
    """The check above can fail."""
    monkeypatch.chdir(ROOT)
    with pytest.raises(Exception, match="max_wokers"):
        validate_config(prepare_config({**config, "max_wokers": 3}))


def test_ray_finds_all_it_needs_in_an_account_that_prepare_aws_made(account):
    made = prepare(account, "my-bucket", "--ssh-from", "192.0.2.7/32")
    assert made.returncode == 0, made.stderr
    group = made.stdout.strip()
    again = prepare(account, "my-bucket", "--ssh-from", "192.0.2.7/32")
    assert (again.returncode, again.stdout.strip()) == (0, group), again.stderr
    text = FILE.read_text().replace("sg-00000000000000000", group)
    assert text != FILE.read_text()
    bootstrap = subprocess.run(
        [sys.executable, "-c", BOOTSTRAP], cwd=ROOT, input=text,
        env=clean_environment(account), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert bootstrap.returncode == 0, bootstrap.stdout + bootstrap.stderr
    nodes = json.loads(bootstrap.stdout.splitlines()[-1])
    for name, node in nodes.items():
        assert node["SecurityGroupIds"] == [group] and node["SubnetIds"]
        assert node["IamInstanceProfile"] == {"Name": f"repareto-{name}"}


def test_port_22_is_open_to_one_place_and_nothing_else_is(account):
    group = prepare(account, "my-bucket", "--ssh-from", "192.0.2.7/32").stdout.strip()
    client = boto3.client(
        "ec2", region_name="us-west-2", endpoint_url=account["AWS_ENDPOINT_URL"],
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip
    (found,) = client.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    places = [place["CidrIp"] for rule in found["IpPermissions"] for place in rule["IpRanges"]]
    assert places == ["192.0.2.7/32"]
    refused = prepare(account, "my-bucket", "--ssh-from", "0.0.0.0/0")
    assert refused.returncode == 2 and "--ssh-from" in refused.stderr


def test_workers_are_spot_and_may_only_use_the_bucket(config, account):
    worker = config["available_node_types"]["worker"]
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in config["available_node_types"]["head"]["node_config"]
    assert prepare(account, "my-bucket", "--ssh-from", "192.0.2.7/32").returncode == 0
    client = boto3.client(
        "iam", region_name="us-west-2", endpoint_url=account["AWS_ENDPOINT_URL"],
        aws_access_key_id="testing", aws_secret_access_key="testing",
    )  # fmt: skip
    (right,) = client.get_role_policy(RoleName="repareto-worker", PolicyName="repareto-worker")["PolicyDocument"][
        "Statement"
    ]
    assert all(action.startswith("s3:") for action in right["Action"])
    assert right["Resource"] == ["arn:aws:s3:::my-bucket", "arn:aws:s3:::my-bucket/*"]


def test_nodes_get_each_file_they_need_and_not_the_superuser_s_password(config):
    mounts = config["file_mounts"]
    secrets = {Path(local).name for local in mounts.values() if local.startswith("infra/secrets/")}
    assert "postgres_password" not in secrets
    start = (INFRA / "ray-up" / "start-node").read_text()
    assert secrets == {word.split("/")[1].rstrip('"') for word in start.split() if "$secrets/" in word}
    for remote, local in mounts.items():
        assert remote == f"/home/ubuntu/repareto/{local}"
        assert local.startswith("infra/secrets/") or (ROOT / local).exists()
    for command in [
        *config["setup_commands"],
        *config["head_start_ray_commands"],
        *config["worker_start_ray_commands"],
    ]:
        for word in command.split():
            if word.startswith("~/repareto/") and not word.endswith("requirements.txt"):
                assert (ROOT / word.removeprefix("~/repareto/")).exists(), word
    assert os.access(INFRA / "ray-up" / "start-node", os.X_OK)
