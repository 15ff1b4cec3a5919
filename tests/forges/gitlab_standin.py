"""A stand-in for GitLab's REST API, on a bare repository.

The tests cannot run a real GitLab. The stand-in follows https://docs.gitlab.com/api/: protected branches and approvals
were compared with the documentation, the other shapes and messages were not. A real GitLab may differ, and nothing here
was tested with one. With `premium` false, it answers as a free GitLab does.
"""

import re
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.gitops.tests.conftest import git, moves
from services.gitops.tests.github import Answer

SLUG = "acme/group/pipeline"
TOKEN = "glpat-of-the-tests"
_PROJECT = f"/api/v4/projects/{quote(SLUG, safe='')}"
_NUMBER = 42
_USERS = {"robot": 5, "ada": 6}
_NOT_FOUND = Answer(404, {"message": "404 Not found"})


def _event(head: str, when: datetime) -> dict[str, Any]:
    push = {"action": "pushed", "ref_type": "branch", "ref": "main", "commit_to": head}
    return {"action_name": "pushed to", "created_at": f"{when:%FT%T}.000Z", "push_data": push}


class Settings:
    """The project's settings. `written` lists the requests that changed them."""

    def __init__(self) -> None:
        self.project: dict[str, Any] = {"only_allow_merge_if_pipeline_succeeds": False}
        self.branches: dict[str, dict[str, Any]] = {}
        self.tags: list[str] = []
        self.rules: list[dict[str, Any]] = []
        self.hooks: list[dict[str, Any]] = []
        self.approvals: dict[str, Any] = {}
        self.premium = True

    def answer(self, method: str, below: str, content: Mapping[str, Any]) -> Answer:
        if below == "":
            self.project.update(content if method == "PUT" else {})
            access = {"project_access": {"access_level": 40, "notification_level": 3}, "group_access": None}
            return Answer(200, {"id": _NUMBER, **self.project, "permissions": access})
        if below == "/hooks":
            return Answer(200, self.hooks)
        if below.startswith("/protected_branches"):
            return self._branch(method, below.removeprefix("/protected_branches").strip("/"), content)
        if below.startswith("/protected_tags"):
            return self._tag(method, below, content)
        return self._approval(method, below, content) if self.premium else _NOT_FOUND

    def _branch(self, method: str, name: str, content: Mapping[str, Any]) -> Answer:
        if method == "POST":
            name = content["name"]
            if name in self.branches:
                return Answer(409, {"message": f"Protected branch '{name}' already exists"})
            self.branches[name] = {"id": 1, "name": name, "push_access_levels": [], "allow_force_push": False}
            if not (self.premium and content.get("allowed_to_push")):
                self._level(name, {"access_level": content.get("push_access_level", 40)})
        if name not in self.branches:
            return _NOT_FOUND
        for level in content.get("allowed_to_push", []) if self.premium else []:
            if level.get("_destroy"):
                there = self.branches[name]["push_access_levels"]
                there[:] = [each for each in there if each["id"] != level["id"]]
            else:
                self._level(name, level)
        return Answer(201 if method == "POST" else 200, self.branches[name])

    def _level(self, name: str, level: Mapping[str, Any]) -> None:
        there = self.branches[name]["push_access_levels"]
        number = 1001 + max((each["id"] - 1000 for each in there), default=0)
        there.append({"id": number, "access_level": level.get("access_level"), "user_id": level.get("user_id")})

    def _tag(self, method: str, below: str, content: Mapping[str, Any]) -> Answer:
        if method == "POST":
            self.tags.append(content["name"])
            return Answer(201, {"name": content["name"]})
        name = below.removeprefix("/protected_tags/").replace("%2A", "*")
        return Answer(200, {"name": name}) if name in self.tags else _NOT_FOUND

    def _approval(self, method: str, below: str, content: Mapping[str, Any]) -> Answer:
        if below == "/approvals" and method == "POST":
            self.approvals.update(content)
            return Answer(201, self.approvals)
        if below == "/approval_rules" and method == "POST":
            self.rules.append({"id": len(self.rules) + 1, **content})
            return Answer(201, self.rules[-1])
        if match := re.fullmatch(r"/approval_rules/(\d+)", below):
            self.rules[int(match[1]) - 1].update(content)
            return Answer(200, self.rules[int(match[1]) - 1])
        return Answer(200, self.rules) if below == "/approval_rules" else _NOT_FOUND


class GitLab:
    """The merge requests of one project. Tests may read and change its state while it runs."""

    def __init__(self, bare: Path) -> None:
        self.bare = bare
        self.url = ""
        self.token = TOKEN
        self.reads_alone = False
        self.expires: str | None = None
        self.merges: list[dict[str, Any]] = []
        self.notes: list[tuple[int, str]] = []
        self.approved: list[tuple[int, str]] = []
        self.reviewers: list[tuple[int, str, str]] = []
        self.statuses: list[tuple[str, str, str]] = []
        self.pipelines: list[Mapping[str, Any]] = []
        self.settings = Settings()
        self.begun = True
        self.requests: list[str] = []
        self.faults: list[Answer] = []
        self.before: Callable[[str], None] = lambda _request: None

    def refusal(self, method: str, headers: Mapping[str, str]) -> Answer | None:
        if headers.get("private-token") != self.token:
            return Answer(401, {"message": "401 Unauthorized"})
        if self.reads_alone and method != "GET":
            scope = {"error": "insufficient_scope", "scope": "api"}
            description = "The request requires higher privileges than provided by the access token."
            return Answer(403, {**scope, "error_description": description})
        return None

    def answer(self, method: str, path: str, query: Mapping[str, str], content: Mapping[str, Any]) -> Answer:
        people: dict[str, object] = {
            "/api/v4/user": {"id": _USERS["robot"], "username": "robot"},
            "/api/v4/users": [
                {"id": number, "username": name} for name, number in _USERS.items() if name == query.get("username")
            ],
            "/api/v4/personal_access_tokens/self": {"scopes": ["api"], "expires_at": self.expires, "active": True},
        }
        if path in people:
            return Answer(200, people[path])
        if not path.startswith(_PROJECT):
            return Answer(404, {"message": "404 Project Not Found"})
        below = path.removeprefix(_PROJECT)
        if below == "/pipeline":
            self.pipelines.append(content)
            return Answer(201, {"id": 1})
        if match := re.fullmatch(r"/repository/commits/(\w+)/statuses", below):
            found = [{"name": name, "status": status} for sha, name, status in self.statuses if sha == match[1]]
            return Answer(200, found)
        if match := re.fullmatch(r"/merge_requests(?:/(\d+)(/\w+)?)?", below):
            return self._merge(method, match, query, content)
        return self._moved(below, query) or self.settings.answer(method, below, content)

    def _moved(self, below: str, query: Mapping[str, str]) -> Answer | None:
        if (below, query.get("action")) != ("/events", "pushed"):
            return None
        return Answer(200, [_event(*move) for move in moves(self.bare)])

    def _merge(self, method: str, match: re.Match[str], query: Mapping[str, str], content: Mapping[str, Any]) -> Answer:
        if match[1] is None:
            return self._create(content) if method == "POST" else Answer(200, self._found(query))
        number, what = int(match[1]), match[2] or ""
        if what == "/notes" and method == "POST":
            self.notes.append((number, content["body"]))
            return Answer(201, {"id": 1, "body": content["body"]})
        if what == "/merge":
            return self._merge_later(number, content)
        if what:
            return self._said(number, what)
        merge = self.merges[number - 1]
        if method == "PUT":
            known = {name: value for name, value in content.items() if name in ("title", "description")}
            merge.update(known)
            merge["labels"] += [name for name in content.get("add_labels", "").split(",") if name]
            if content.get("state_event") == "close":
                merge["state"] = "closed"
        return Answer(200, self._shown(merge))

    def _merge_later(self, number: int, content: Mapping[str, Any]) -> Answer:
        merge = self.merges[number - 1]
        if content["sha"] != self._shown(merge)["sha"]:
            return Answer(409, {"message": "SHA does not match HEAD of source branch"})
        if not self.begun:
            return Answer(405, {"message": "405 Method Not Allowed"})
        if not (content.get("auto_merge") and self.settings.project["only_allow_merge_if_pipeline_succeeds"]):
            merge["state"] = "merged"
        merge["merge_when_pipeline_succeeds"] = True
        return Answer(200, self._shown(merge))

    def _said(self, number: int, what: str) -> Answer:
        if what == "/notes":
            own = [{"body": "added 1 commit", "system": True}]
            return Answer(200, [*own, *({"body": text, "system": False} for of, text in self.notes if of == number)])
        if what == "/approvals":
            users = [{"user": {"id": _USERS[who], "username": who}} for of, who in self.approved if of == number]
            return Answer(200, {"iid": number, "approved": bool(users), "approved_by": users})
        if what == "/reviewers":
            found = [(who, state) for of, who, state in self.reviewers if of == number]
            return Answer(200, [{"user": {"id": 6, "username": who}, "state": state} for who, state in found])
        return _NOT_FOUND

    def _found(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        fields = ("state", "source_branch", "target_branch")
        return [
            self._shown(merge)
            for merge in self.merges
            if all(merge[name] == query[name] for name in fields if name in query)
        ]

    def _create(self, content: Mapping[str, Any]) -> Answer:
        source, target = content["source_branch"], content["target_branch"]
        if source == target:
            return Answer(422, {"message": ["You can't use same project/branch for source and target"]})
        if any(merge["source_branch"] == source for merge in self.merges if merge["state"] == "opened"):
            return Answer(409, {"message": ["Another open merge request already exists for this source branch: !1"]})
        if not git(self.bare, "for-each-ref", f"refs/heads/{source}"):
            return Answer(400, {"message": {"source_branch": ["does not exist"]}})
        return Answer(201, self.open(source, content["title"], content["description"]))

    def open(self, source: str, title: str = "", description: str = "") -> dict[str, Any]:
        """Open a merge request from a branch."""
        number = len(self.merges) + 1
        self.merges.append(
            {
                "iid": number,
                "web_url": f"{self.url}/{SLUG}/-/merge_requests/{number}",
                "state": "opened",
                "source_branch": source,
                "target_branch": "main",
                "source_project_id": _NUMBER,
                "target_project_id": _NUMBER,
                "title": title,
                "description": description,
                "labels": [],
            }
        )
        return self._shown(self.merges[-1])

    def _shown(self, merge: Mapping[str, Any]) -> dict[str, Any]:
        sha = git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{merge['source_branch']}")
        command = ["git", "merge-tree", "--write-tree", "main", sha or "main"]
        clean = subprocess.run(command, cwd=self.bare, capture_output=True, check=False).returncode == 0
        return {**merge, "sha": sha or None, "has_conflicts": not clean}
