"""A feed that names its pictures by web addresses, served by a real web server on loopback."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from invariants import check, connect
from shops import arguments, draw_shop, write_catalogue

from jobs import recommend


class Logged(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        self.server.seen.append((self.command, self.path))


@pytest.mark.slow
def test_pictures_at_web_addresses_are_asked_for_every_night_and_read_once(spark, tmp_path):
    rows = draw_shop(tmp_path, products=6, images=2)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Logged, directory=str(tmp_path)))
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        root = f"http://127.0.0.1:{server.server_port}"
        for number, row in enumerate(rows):
            row["photo"] = row["photo"] if number % 2 else f"{root}/{row['photo']}"
        rows.append({**rows[0], "photo": f"{root}/gone.jpg"})
        rows.append(
            {**rows[0], "photo": f"http://localhost:{server.server_port}/{rows[0]['photo'].rpartition('/')[2]}"}
        )
        write_catalogue(tmp_path, rows)
        own = arguments(tmp_path, f"{tmp_path}/out", f"catalogue.images_root={root}")
        own += ["--set", "images.private_hosts=[127.0.0.1]"]
        assert recommend.main([*own, "--run-id", "night-1"]) == 0
        con = connect(f"{tmp_path}/out")
        check(con, 5, "night-1")
        reasons = con.sql("select reason, count(*) from quarantine group by 1 order by 1").fetchall()
        assert reasons == [("missing", 1), ("refused", 1)]
        assert len({path for method, path in server.seen if method == "GET" and "gone" not in path}) == 12
        server.seen.clear()
        assert recommend.main([*own, "--run-id", "night-2"]) == 0
        assert {method for method, _ in server.seen} == {"HEAD"}
        assert connect(f"{tmp_path}/out").sql("select status from runs where run_id = 'night-2'").fetchall() == [
            ("unchanged",)
        ]
    finally:
        server.shutdown()
        server.server_close()
