"""What hack/k8s/cases are written with: the API as values, kubectl as users call it, and waiting with a deadline.

A case is a function of one argument, a Case. It passes when it returns; `Wrong` fails it, `Skip` skips it. What it
created is deleted behind it.
"""

import fcntl
import http.client
import json
import os
import pty
import re
import ssl
import struct
import subprocess
import termios
import time
from pathlib import Path

CLUSTER = Path("/run/cluster")
HERE = Path(__file__).resolve().parent
BUSYBOX = "localhost/busybox:1"
# A container that waits, and ends at once when told to.
WAIT = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
# Nothing here takes long by itself; a busy machine does.
PATIENCE = 180


class Wrong(Exception):
    pass


class Skip(Exception):
    pass


class Api:
    """The API server's answers as values, and one connection a thread. A status that was not wanted is an error."""

    def __init__(self):
        self.context = ssl.create_default_context(cafile=CLUSTER / "ca.crt")
        self.context.load_cert_chain(CLUSTER / "admin.crt", CLUSTER / "admin.key")
        self.connection = None

    def __call__(self, method, path, body=None, kind="application/json", missing_ok=False, raw=False):
        payload = json.dumps(body) if body is not None else None
        for attempt in (1, 2):
            try:
                if not self.connection:
                    self.connection = http.client.HTTPSConnection("192.168.77.1", 6443, context=self.context, timeout=60)
                self.connection.request(method, path, payload, {"Content-Type": kind, "Accept": "application/json"})
                answer = self.connection.getresponse()
                text = answer.read().decode()
                break
            except (http.client.HTTPException, OSError):
                self.connection = None
                if attempt == 2:
                    raise
        if answer.status == 404 and missing_ok:
            return None
        if answer.status >= 300:
            raise Wrong(f"{method} {path}: {answer.status} {text[:400]}")
        return text if raw else json.loads(text)


PLURAL = {
    "Pod": "/api/v1/namespaces/default/pods",
    "ConfigMap": "/api/v1/namespaces/default/configmaps",
    "Secret": "/api/v1/namespaces/default/secrets",
    "Service": "/api/v1/namespaces/default/services",
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/default/daemonsets",
    "StatefulSet": "/apis/apps/v1/namespaces/default/statefulsets",
    "Job": "/apis/batch/v1/namespaces/default/jobs",
}
VERSION = {"Deployment": "apps/v1", "DaemonSet": "apps/v1", "StatefulSet": "apps/v1", "Job": "batch/v1"}


class Ran:
    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err


class Case:
    def __init__(self, name, log):
        self.name, self.log = name, log
        self.api = Api()
        self.made = []
        self.texts = {}
        self.count = 0

    def say(self, *words):
        print(*words, file=self.log, flush=True)

    # --- asking

    def wait(self, what, question, patience=PATIENCE):
        """Asks until the answer is true, and returns it."""
        end = time.monotonic() + patience
        while not (answer := question()):
            if time.monotonic() > end:
                raise Wrong(f"not within {patience} s: {what() if callable(what) else what}")
            time.sleep(0.25)
        return answer

    def same(self, what, have, wanted):
        if have != wanted:
            raise Wrong(f"{what}: {have!r}, wanted {wanted!r}")

    def has(self, what, text, *wanted):
        for word in wanted:
            if word not in text:
                raise Wrong(f"{what}: {text.strip()[-600:]!r}, wanted {word!r} in it")

    def lacks(self, what, text, *unwanted):
        for word in unwanted:
            if word in text:
                raise Wrong(f"{what}: {text.strip()[-600:]!r} has {word!r}")

    def matches(self, what, text, pattern):
        if not re.search(pattern, text):
            raise Wrong(f"{what}: {text.strip()[-600:]!r}, wanted {pattern}")

    # --- commands

    def command(self, *words, status=0, stdin=None, patience=PATIENCE):
        self.say("$", *words)
        try:
            ran = subprocess.run(
                words,
                input=stdin,
                capture_output=True,
                timeout=patience,
                text=not isinstance(stdin, bytes),
                errors="replace" if not isinstance(stdin, bytes) else None,
            )
        except subprocess.TimeoutExpired as e:
            raise Wrong(f"{' '.join(words[:6])}: not done within {patience} s: {e.stderr}") from e
        self.say(str(ran.stdout)[-3000:], str(ran.stderr)[-3000:])
        if status is not None and ran.returncode != status:
            raise Wrong(
                f"{' '.join(words)[:300]}: exit status {ran.returncode}, wanted {status}: {(ran.stderr or ran.stdout)[-600:]}"
            )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def kubectl(self, *words, **settings):
        return self.command("kubectl", *words, **settings)

    def exec(self, pod, script, status=0, container=None, **settings):
        """What `sh -c SCRIPT` in the pod's container prints."""
        words = ["exec", pod] + (["-c", container] if container else [])
        return self.kubectl(*words, "--", "sh", "-c", script, status=status, **settings).out

    def terminal(self, *words, rows=40, columns=132, typed=b"", resized=None, patience=PATIENCE):
        """A command on a terminal of its own: its status, and what the terminal showed. With RESIZED, (word, rows, columns),
        the terminal gets that size when the word is shown."""
        self.say("$ (tty)", *words)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        child = subprocess.Popen(
            words,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        os.set_blocking(ours, False)
        shown, end = b"", time.monotonic() + patience
        if typed:
            os.write(ours, typed)
        try:
            while True:
                try:
                    more = os.read(ours, 65536)
                    if not more:
                        break
                    shown += more
                    if resized and resized[0].encode() in shown:
                        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", *resized[1:], 0, 0))
                        resized = None
                except BlockingIOError:
                    if child.poll() is not None:
                        break
                    if time.monotonic() > end:
                        raise Wrong(f"{' '.join(words)}: not done within {patience} s: {shown[-400:]!r}") from None
                    time.sleep(0.05)
                except OSError:  # all others have closed it
                    break
            child.wait(timeout=10)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            os.close(ours)
        self.say(shown)
        return Ran(child.returncode, shown.decode(errors="replace").replace("\r\n", "\n"), "")

    def on_node(self, node, *words, **settings):
        """A command in the namespaces of node1 or node2."""
        holder = (CLUSTER / f"{node}.ns").read_text().strip()
        return self.command("nsenter", "--target", holder, "--mount", "--net", "--uts", "--", *words, **settings).out

    # --- objects

    def create(self, kind, name, patience=20, **rest):
        body = {
            "apiVersion": VERSION.get(kind, "v1"),
            "kind": kind,
            "metadata": {"name": name, "labels": {"case": self.label}, **rest.pop("metadata", {})},
            **rest,
        }
        self.say("create", json.dumps(body))
        self.made.append((kind, name))
        return self.api("POST", PLURAL[kind], body)

    @property
    def label(self):
        return self.name.replace("_", "-")

    def container(self, script=WAIT, **more):
        """A container; the words of the API, and `mounts` as {path: volume} or {path: {name: volume, …}}."""
        mounts = more.pop("mounts", {})
        made = {"name": "c", "image": BUSYBOX}
        if script is not None:
            made["command"] = ["sh", "-c", script] if isinstance(script, str) else list(script)
        if mounts:
            made["volumeMounts"] = [
                {"mountPath": path, **({"name": to} if isinstance(to, str) else to)} for path, to in mounts.items()
            ]
        return {**made, **more}

    def spec(self, script=WAIT, *, containers=None, volumes=None, pod=None, node=None, **container):
        """A pod's spec. `pod` has what is to be beside the containers; other words are of the one container."""
        spec = {
            "runtimeClassName": "orlop",
            "terminationGracePeriodSeconds": 1,
            "restartPolicy": "Never",
            "containers": containers or [self.container(script, **container)],
        }
        if volumes:
            spec["volumes"] = [{"name": name, **volume} for name, volume in volumes.items()]
        if node:
            spec["nodeSelector"] = {"kubernetes.io/hostname": node}
        return {**spec, **(pod or {})}

    def pod(self, script=WAIT, *, name=None, metadata=None, **words):
        """Makes a pod and returns its name; it is not waited for."""
        self.count += 1
        name = name or self.label + ("" if self.count == 1 else f"-{self.count}")
        self.create("Pod", name, spec=self.spec(script, **words), metadata=metadata or {})
        return name

    def get(self, name, kind="Pod"):
        return self.api("GET", f"{PLURAL[kind]}/{name}", missing_ok=True)

    def patch(self, name, change, kind="Pod", subresource=""):
        return self.api("PATCH", f"{PLURAL[kind]}/{name}{subresource}", change, "application/strategic-merge-patch+json")

    def status(self, name, container=None):
        """The status of a container: the pod's first one, or that of the given name."""
        pod = self.get(name) or {}
        everyone = [
            s
            for which in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
            for s in pod.get("status", {}).get(which, [])
        ]
        return next((s for s in everyone if container in (None, s["name"])), {})

    def events(self, name):
        found = self.api("GET", f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3D{name}")["items"]
        return [f"{e['reason']}: {e['message']}" for e in found]

    def shown(self, name):
        """Why a pod is not as it should be, in short."""
        pod = self.get(name) or {}
        states = [s.get("state") for s in pod.get("status", {}).get("containerStatuses", [])]
        return f"{name} is {pod.get('status', {}).get('phase')}, {json.dumps(states)}; {'; '.join(self.events(name)[-4:])}"

    def phase(self, name, *wanted, patience=PATIENCE):
        def there():
            phase = (self.get(name) or {}).get("status", {}).get("phase")
            if phase in ("Failed", "Succeeded") and phase not in wanted:
                raise Wrong(self.shown(name))
            return phase in wanted

        self.wait(lambda: self.shown(name), there, patience)
        return name

    def running(self, script=WAIT, **words):
        return self.phase(self.pod(script, **words), "Running")

    def ready(self, name, patience=PATIENCE):
        def is_ready():
            conditions = (self.get(name) or {}).get("status", {}).get("conditions", [])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

        self.wait(lambda: self.shown(name), is_ready, patience)
        return name

    def ended(self, name, container=None, patience=PATIENCE):
        """How a container ended: exitCode, reason, message."""
        state = lambda: self.status(name, container).get("state", {}).get("terminated")
        return self.wait(lambda: self.shown(name), state, patience)

    def logs(self, name, container=None, **query):
        if container:
            query["container"] = container
        text = "&".join(f"{k}={v}" for k, v in query.items())
        return self.api("GET", f"{PLURAL['Pod']}/{name}/log?{text}", raw=True)

    def output(self, script, status=0, **words):
        """What a pod prints that runs SCRIPT to its end, complaints where they arose."""
        name = self.pod("exec 2>&1; " + script, **words)
        end = self.ended(name)
        text = self.logs(name) if end.get("containerID") else ""
        self.say(f"output of {name}: {text[-3000:]}", json.dumps(end))
        if end["exitCode"] != status:
            raise Wrong(
                f"ended with {end['exitCode']} ({end.get('reason')}), wanted {status}: {end.get('message') or text.strip()[-400:]}"
            )
        return text

    def refused(self, name, *wanted, patience=PATIENCE):
        """What `kubectl describe pod` says of a container that could not be started; kept for the report."""
        state = self.wait(
            lambda: self.shown(name),
            lambda: next(
                (
                    s
                    for s in (
                        self.status(name).get("state", {}).get("terminated"),
                        self.status(name).get("state", {}).get("waiting"),
                    )
                    if s and s.get("message") and s.get("reason") not in ("ContainerCreating", "PodInitializing")
                ),
                None,
            ),
            patience,
        )
        described = self.kubectl("describe", "pod", name).out
        message = state["message"]
        self.texts[self.name] = {"reason": state["reason"], "exitCode": state.get("exitCode"), "message": message}
        self.has("the container's message", message, *wanted)
        # Describing wraps nothing and leaves nothing out.
        self.has("kubectl describe pod", described, message.splitlines()[0][:200])
        return state

    def event(self, name, *wanted, reason, patience=PATIENCE):
        """The first event of that reason which has all the words; kept for the report."""

        def there():
            return next((e for e in self.events(name) if e.startswith(reason + ": ") and all(w in e for w in wanted)), None)

        try:
            found = self.wait("", there, patience)
        except Wrong:
            raise Wrong(f"no event {reason} with {wanted}: {self.events(name)}") from None
        self.texts[self.name] = {"reason": reason, "exitCode": None, "message": found.split(": ", 1)[1]}
        return found

    def remove(self, name, kind="Pod", grace=None, wait=False):
        options = {} if grace is None else {"gracePeriodSeconds": grace}
        options["propagationPolicy"] = "Background"
        self.api("DELETE", f"{PLURAL[kind]}/{name}", options, missing_ok=True)
        if wait:
            self.wait(f"{name} is gone", lambda: not self.get(name, kind))

    def clean(self):
        for kind, name in reversed(self.made):
            self.api(
                "PATCH",
                f"{PLURAL[kind]}/{name}",
                {"metadata": {"finalizers": None}},
                "application/merge-patch+json",
                missing_ok=True,
            )
            self.remove(name, kind)
