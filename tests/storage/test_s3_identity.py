"""Python reads S3 as S3A does: whose keys, which region, through which proxy; what it cannot do is refused by name."""

from __future__ import annotations

import datetime as dt
import http.client
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.server import ThreadedMotoServer

from vsspark.config import Config, ImagesConfig
from vsspark.errors import ConfigError, ImageError, Reason
from vsspark.images.fetch import read_image, stat_image
from vsspark.images.listing import list_objects
from vsspark.job.run import Run
from vsspark.spark.session import storage_options
from vsspark.storage.filesystems import open_filesystem
from vsspark.storage.reader import delta_options
from vsspark.storage.s3 import arrow_client, boto_client, region_of, s3_settings

IMAGES = ImagesConfig(timeout_s=5, attempts=1)
KEYS = {"fs.s3a.access.key": "of settings", "fs.s3a.secret.key": "canary"}
PROVIDER = "fs.s3a.aws.credentials.provider"
SIMPLE = "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"
TEMPORARY = "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider"
ENVIRONMENT = "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider"
INSTANCE = "org.apache.hadoop.fs.s3a.auth.IAMInstanceCredentialsProvider"
ANONYMOUS = "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"
ASSUMED = "org.apache.hadoop.fs.s3a.auth.AssumedRoleCredentialProvider"
ODD_KEYS = ("a//b.jpg", "a/./b.jpg", "/b.jpg", "./b.jpg")


class _Proxy(BaseHTTPRequestHandler):
    """Forwards every request, and keeps what it was asked and in whose name."""

    protocol_version = "HTTP/1.1"

    def forward(self) -> None:
        self.server.seen.append((self.path, self.headers.get("Authorization", "")))
        headers = dict(self.headers) | {"Host": f"127.0.0.1:{self.server.behind}"}
        onward = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=30)
        onward.request(self.command, self.path.removeprefix("http://s3.shop.test"), headers=headers)
        response = onward.getresponse()
        body = response.read()
        self.send_response_only(403 if "forbidden" in self.path else response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", response.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        onward.close()

    do_GET = do_HEAD = forward

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    port = server.get_host_and_port()[1]
    given = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", **given)
    client.create_bucket(Bucket="keys", ACL="public-read")
    for key in ("a/b.jpg", "b.jpg", *ODD_KEYS):
        client.put_object(Bucket="keys", Key=key, Body=b"bytes of " + key.encode(), ACL="public-read")
    yield port
    server.stop()


@pytest.fixture
def proxy(moto):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.daemon_threads, server.behind, server.seen = True, moto, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def _options(port, **more):
    return {"fs.s3a.endpoint": f"http://127.0.0.1:{port}", "fs.s3a.path.style.access": "true", **more}


@pytest.mark.parametrize("key", ODD_KEYS)
def test_keys_that_are_no_tidy_paths_name_their_own_object(moto, key):
    options = _options(moto, **KEYS)
    assert read_image(f"s3a://keys/{key}", IMAGES, options) == b"bytes of " + key.encode()
    assert stat_image(f"s3a://keys/{key}", IMAGES, options)[0] == len(b"bytes of " + key.encode())
    with pytest.raises(ImageError, match="no such object") as caught:
        read_image(f"s3a://keys/{key}.none", IMAGES, options)
    assert caught.value.reason is Reason.MISSING
    with pytest.raises(ImageError) as caught:
        read_image(f"s3a://keys/{key}", IMAGES.model_copy(update={"max_bytes": 3}), options)
    assert caught.value.reason is Reason.TOO_MANY_BYTES


@pytest.mark.parametrize("key", ["forbidden.jpg", "forbidden//x.jpg"])
def test_no_permission_may_mean_that_nothing_is_there(proxy, key):
    options = _options(proxy.server_address[1], **KEYS)
    with pytest.raises(ImageError, match=r"missing, or no permission: without s3:ListBucket") as caught:
        read_image(f"s3a://keys/{key}", IMAGES, options)
    assert caught.value.reason is Reason.UNREADABLE
    assert stat_image(f"s3a://keys/{key}", IMAGES, options) is None


def test_anonymous_requests_carry_no_name(proxy):
    options = _options(proxy.server_address[1], **{PROVIDER: ANONYMOUS}, **KEYS)
    assert read_image("s3a://keys/a/b.jpg", IMAGES, options) == b"bytes of a/b.jpg"
    assert read_image("s3a://keys/a//b.jpg", IMAGES, options) == b"bytes of a//b.jpg"
    assert list_objects([f"s3a://keys/a/b.jpg{n or ''}" for n in range(20)], IMAGES, options)["s3a://keys/a/b.jpg"]
    assert {name for _, name in proxy.seen} == {""}
    assert delta_options("s3a://keys/out", options)["aws_skip_signature"] == "true"
    assert "aws_access_key_id" not in delta_options("s3a://keys/out", options)


@pytest.mark.parametrize(
    ("providers", "environment", "name"),
    [
        (None, "of the environment", "of settings"),
        (f"\n  {TEMPORARY},\n  {SIMPLE}, {ENVIRONMENT}, {INSTANCE}\n", "of the environment", "of settings"),
        (f"{ENVIRONMENT},{SIMPLE}", "of the environment", "of the environment"),
        (f"{ENVIRONMENT},{SIMPLE}", None, "of settings"),
        (f"{INSTANCE}", "of the environment", "of the environment"),
        (f"{SIMPLE},{ASSUMED}", None, "of settings"),
    ],
)
def test_the_first_provider_that_has_keys_wins(proxy, monkeypatch, providers, environment, name):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    if environment is not None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", environment)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-2")
    own = {} if providers is None else {PROVIDER: providers}
    options = _options(proxy.server_address[1], **KEYS, **own)
    assert read_image("s3a://keys/b.jpg", IMAGES, options) == b"bytes of b.jpg"
    assert all(f"Credential={name}/" in who for _, who in proxy.seen), proxy.seen


def test_a_profile_of_the_worker(proxy, tmp_path):
    (tmp_path / "credentials").write_text("[shop]\naws_access_key_id = of-a-profile\naws_secret_access_key = canary\n")
    options = _options(proxy.server_address[1], **{PROVIDER: "com.amazonaws.auth.profile.ProfileCredentialsProvider"})
    code = (
        "from vsspark.config import ImagesConfig\nfrom vsspark.images.fetch import read_image\n"
        f"print(read_image('s3a://keys/b.jpg', ImagesConfig(attempts=1), {options}))"
    )
    profile = {"AWS_SHARED_CREDENTIALS_FILE": f"{tmp_path}/credentials", "AWS_PROFILE": "shop"}
    done = subprocess.run([sys.executable, "-c", code], env=profile, capture_output=True, text=True, check=True)
    assert done.stdout == "b'bytes of b.jpg'\n"
    assert all("Credential=of-a-profile/" in who for _, who in proxy.seen)


def test_a_proxy_is_used_for_every_request(proxy):
    port = str(proxy.server_address[1])
    options = {
        "fs.s3a.endpoint": "http://s3.shop.test",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.proxy.host": "127.0.0.1",
        "fs.s3a.proxy.port": port,
        **KEYS,
    }
    assert read_image("s3a://keys/b.jpg", IMAGES, options) == b"bytes of b.jpg"
    assert read_image("s3a://keys/a//b.jpg", IMAGES, options) == b"bytes of a//b.jpg"
    assert all(path.startswith("http://s3.shop.test/") for path, _ in proxy.seen)
    assert delta_options("s3a://keys/out", options)["proxy_url"] == f"http://127.0.0.1:{port}"
    signed = options | {"fs.s3a.proxy.username": "me@home", "fs.s3a.proxy.password": "canary/1"}
    assert delta_options("s3a://keys/out", signed)["proxy_url"] == f"http://me%40home:canary%2F1@127.0.0.1:{port}"
    assert "canary" not in repr(s3_settings("keys", signed))


def test_the_region_is_that_of_the_endpoint():
    assert region_of("s3.eu-central-1.amazonaws.com") == "eu-central-1"
    assert region_of("https://s3.dualstack.ap-south-1.amazonaws.com/") == "ap-south-1"
    assert region_of("s3-fips.us-gov-west-1.amazonaws.com") == "us-gov-west-1"
    assert region_of("s3.cn-north-1.amazonaws.com.cn") == "cn-north-1"
    assert region_of("https://bucket.vpce-1a2b-3c4d.s3.us-west-2.vpce.amazonaws.com") == "us-west-2"
    assert region_of("s3.amazonaws.com") is None
    assert region_of("http://127.0.0.1:9000") is None
    own = {"fs.s3a.endpoint": "s3.eu-central-1.amazonaws.com"}
    assert s3_settings("keys", own).region == "eu-central-1"
    assert s3_settings("keys", own | {"fs.s3a.endpoint.region": "eu-west-1"}).region == "eu-west-1"
    assert s3_settings("keys", {"fs.s3a.endpoint": "http://127.0.0.1:1"}).region == "us-east-1"
    assert open_filesystem("s3a://keys/x", own)[0].region == "eu-central-1"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("aws.credentials.provider", ASSUMED, "AssumedRoleCredentialProvider"),
        ("aws.credentials.provider", "com.shop.Vault", "com.shop.Vault"),
        ("requester.pays.enabled", "true", "requester pays"),
        ("encryption.algorithm", "SSE-C", "SSE-C"),
        ("encryption.algorithm", "CSE-KMS", "CSE-KMS"),
        ("server-side-encryption-algorithm", "sse-c", "sse-c"),
        ("security.credential.provider.path", "jceks://file/keys.jceks", "jceks://file/keys.jceks"),
    ],
)
@pytest.mark.parametrize("place", ["fs.s3a.", "fs.s3a.bucket.keys."])
def test_what_workers_cannot_be_given_is_refused_by_name(place, key, value, said):
    with pytest.raises(ConfigError) as caught:
        open_filesystem("s3a://keys/out", {f"{place}{key}": value})
    assert f"{place}{key}={value}" in str(caught.value)
    assert said in str(caught.value)
    assert open_filesystem("/out", {f"{place}{key}": value})[1] == "/out"
    with pytest.raises(ImageError, match=place) as image:
        read_image("s3a://keys/a.jpg", IMAGES, {f"{place}{key}": value})
    assert image.value.reason is Reason.UNREADABLE
    assert stat_image("s3a://keys/a.jpg", IMAGES, {f"{place}{key}": value}) is None
    assert open_filesystem("s3a://other/x", {f"fs.s3a.bucket.keys.{key}": value, "fs.s3a.endpoint": "http://h"})


def test_a_private_authority_is_that_of_the_environment(tmp_path, monkeypatch):
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/ca.pem", "-days", "2"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *name, *files]
    subprocess.run(command, check=True, capture_output=True)

    class Store(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for header in (("Content-Length", "5"), ("ETag", '"1"'), ("Content-Type", "image/jpeg")):
                self.send_header(*header)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(b"hello")

        do_HEAD = do_GET

        def log_message(self, *args) -> None:
            pass

    server = ThreadingHTTPServer(("localhost", 0), Store)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = {"fs.s3a.endpoint": f"https://localhost:{server.server_address[1]}", "fs.s3a.path.style.access": "true"}
    try:
        for key in ("b.jpg", "a//b.jpg"):
            monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
            clear_clients()
            with pytest.raises(ImageError, match=r"(?i)certificate|ssl"):
                read_image(f"s3a://keys/{key}", IMAGES, options | KEYS)
            monkeypatch.setenv("AWS_CA_BUNDLE", f"{tmp_path}/ca.pem")
            clear_clients()
            assert read_image(f"s3a://keys/{key}", IMAGES, options | KEYS) == b"hello"
    finally:
        server.shutdown()
        server.server_close()


def clear_clients():
    """A client keeps what the environment held when it was made."""
    arrow_client.cache_clear()
    boto_client.cache_clear()


def test_keys_of_a_credential_file_reach_the_workers(spark, tmp_path):
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    java = spark._jvm
    entries = {
        "all": {"fs.s3a.access.key": "of a file", "fs.s3a.secret.key": "canary"},
        "own": {"fs.s3a.access.key": "of its own file", "fs.s3a.secret.key": "canary-2"},
    }
    paths = {name: f"localjceks://file{tmp_path}/{name}.jceks" for name in entries}
    for name, secrets in entries.items():
        conf = java.org.apache.hadoop.conf.Configuration(False)
        conf.set("hadoop.security.credential.provider.path", paths[name])
        [store] = java.org.apache.hadoop.security.alias.CredentialProviderFactory.getProviders(conf)
        for key, secret in secrets.items():
            letters = spark.sparkContext._gateway.new_array(java.char, len(secret))
            for position, letter in enumerate(secret):
                letters[position] = letter
            store.createCredentialEntry(key, letters)
        store.flush()
    given = {
        "hadoop.security.credential.provider.path": paths["all"],
        "fs.s3a.bucket.broken.security.credential.provider.path": f"localjceks://file{__file__}",
        "fs.s3a.bucket.keys.security.credential.provider.path": paths["own"],
    }
    for key, value in given.items():
        hadoop.set(key, value)
    try:
        options = storage_options(spark)
    finally:
        for key in given:
            hadoop.unset(key)
    assert s3_settings("other", options).access_key == "of a file"
    assert s3_settings("keys", options).access_key == "of its own file"
    assert s3_settings("keys", options).secret_key == "canary-2"
    only = {key: value for key, value in options.items() if key != "fs.s3a.access.key"}
    with pytest.raises(ConfigError, match=r"fs\.s3a\.bucket\.broken\.security\.credential\.provider\.path=localjceks"):
        s3_settings("broken", only)


@pytest.mark.parametrize("place", ["output", "images_root", "allowed_roots"])
def test_a_run_refuses_such_a_bucket_before_it_takes_the_lock(spark, tmp_path, place):
    output = "s3a://keys/out" if place == "output" else f"{tmp_path}/out"
    roots = {"images_root": "s3a://keys/a", "allowed_roots": ["s3a://keys/a"]}
    shop = {"table": "shop.csv"} | ({place: roots[place]} if place in roots else {})
    config = Config(output={"path": output}, catalogue=shop)
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set("fs.s3a.bucket.keys.requester.pays.enabled", "true")
    try:
        refused = pytest.raises(ConfigError, match=r"fs\.s3a\.bucket\.keys\.requester\.pays\.enabled=true")
        with refused, Run(spark, config, "a", dt.date(2026, 1, 1)):
            pass
    finally:
        hadoop.unset("fs.s3a.bucket.keys.requester.pays.enabled")
    assert list(tmp_path.iterdir()) == []
