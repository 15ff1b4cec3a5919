"""The people of the tests: a chat in the cluster, to which Argo CD writes through the webhook given to bootstrap."""

import json

import msgspec

from tests.e2e.kube import Kube
from tests.e2e.pods import Runner, Script

_NAME = "chat"
_PORT = 8080


class Chat(msgspec.Struct, frozen=True):
    """The chat that people read."""

    kube: Kube
    namespace: str

    @property
    def url(self) -> str:
        """Return the webhook's address inside the cluster."""
        return f"http://{_NAME}.{self.namespace}:{_PORT}/hooks/people"

    def start(self, runner: Runner) -> None:
        """Run the chat. It is removed with its namespace."""
        labels = {"app.kubernetes.io/name": _NAME}
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": _NAME, "namespace": self.namespace},
            "spec": {"selector": labels, "ports": [{"port": _PORT}]},
        }
        self.kube.apply([service])
        script = Script(_NAME, self.namespace, "chat.py", {"port": _PORT}, labels)
        runner.start(script)
        runner.wait_running(script)

    def messages(self) -> list[str]:
        """Return all messages so far, the oldest first."""
        log = self.kube.logs(self.namespace, _NAME, lines=1000)
        return [json.loads(line)["text"] for line in log.splitlines() if line.startswith("{")]

    def wait_for(self, beginning: str, *words: str, seconds: float = 120) -> str:
        """Wait for a message with this beginning and all these words, and return it.

        Raises:
            TimeoutError: There was none. The error lists the messages that came.
        """

        def found() -> str | None:
            return next(
                (
                    text
                    for text in self.messages()
                    if text.startswith(beginning) and all(word in text for word in words)
                ),
                None,
            )

        what = f"people are told: {beginning} ... {' ... '.join(words)}"
        try:
            return self.kube.wait(what, found, seconds=seconds, namespace=self.namespace, names=(_NAME,))
        except TimeoutError as error:
            raise TimeoutError(f"{error}\nthey were told: {self.messages()}") from error
