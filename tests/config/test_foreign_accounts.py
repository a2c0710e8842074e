"""Whether more than the system's own files has a say in a login."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from lanmail.config.foreign_accounts import obstacle

DEBIAN = {
    "/etc/nsswitch.conf": "passwd:         files systemd\ngroup: files systemd\nshadow:         files systemd\nnetgroup: nis\n",
    "/etc/pam.d/lanmail": "# ours\n@include common-auth\n@include common-account\n",
    "/etc/pam.d/common-auth": """\
auth	[success=1 default=ignore]	pam_unix.so nullok
auth	requisite			pam_deny.so
auth	required			pam_permit.so
auth	optional			pam_cap.so
""",
    "/etc/pam.d/common-account": """\
account	[success=1 new_authtok_reqd=done default=ignore]	pam_unix.so
account	requisite			pam_deny.so
account	required			pam_permit.so
""",
}
FEDORA = {
    "/etc/nsswitch.conf": "passwd: files systemd\nshadow: files\n",
    "/usr/lib/pam.d/lanmail": "#%PAM-1.0\nauth  substack  password-auth\naccount  include  password-auth\n",
    "/etc/pam.d/password-auth": """\
auth        required                                     pam_env.so
auth        required                                     pam_faildelay.so delay=2000000
auth        sufficient                                   pam_unix.so nullok
auth        required                                     pam_deny.so
account     required                                     pam_unix.so
password    requisite                                    pam_pwquality.so
password    sufficient                                   pam_unix.so yescrypt shadow nullok use_authtok
-session    optional                                     pam_systemd.so
session     [success=1 default=ignore]                   pam_succeed_if.so service in crond quiet use_uid
""",
}


def found(files: dict[str, str], **more: str) -> str:
    """``more``: texts of files, by the last part of their name."""
    texts = dict(files)
    for name, text in more.items():
        path = next((path for path in texts if path.endswith(name.replace("_", "-"))), f"/etc/{name}")
        texts[path] = text
    return obstacle("lanmail", texts.get)


class ObstacleTests(SynchronousTestCase):
    def test_debian_and_fedora_as_they_are_installed_have_none(self) -> None:
        self.assertEqual(found(DEBIAN), "")
        self.assertEqual(found(FEDORA), "")

    def test_a_directory_in_nsswitch_is_named(self) -> None:
        for line in (
            "passwd: files ldap",
            "passwd: sss files",
            "shadow: files nis",
            "passwd:files [NOTFOUND=return] winbind",
            "passwd: db files",
        ):
            self.assertIn("/etc/nsswitch.conf names", found({**DEBIAN, "/etc/nsswitch.conf": line + "\n"}), line)

    def test_other_databases_and_comments_do_not_count(self) -> None:
        text = "# passwd: ldap\npasswd: files # not ldap\ngroup: ldap\nhosts: dns\n"
        self.assertEqual(found({**DEBIAN, "/etc/nsswitch.conf": text}), "")

    def test_without_nsswitch_conf_there_are_files(self) -> None:
        texts = {path: text for path, text in DEBIAN.items() if "nsswitch" not in path}
        self.assertEqual(found(texts), "")

    def test_compat_is_files_until_passwd_lets_nis_in(self) -> None:
        texts = {**DEBIAN, "/etc/nsswitch.conf": "passwd: compat\nshadow: compat\n", "/etc/passwd": "root:x:0:0::/:\n"}
        self.assertEqual(found(texts), "")
        for line in ("+", "+@staff", "-mallory"):
            self.assertIn("compat", found({**texts, "/etc/passwd": f"root:x:0:0::/:\n{line}::::::\n"}))

    def test_a_module_that_knows_more_than_the_files_is_named(self) -> None:
        for module in (
            "pam_sss.so",
            "pam_ldap.so",
            "pam_faillock.so",
            "pam_access.so",
            "pam_nologin.so",
            "pam_exec.so",
            "/opt/pam_unix.so",
        ):
            for control in ("sufficient", "[success=2 default=ignore]", "optional"):
                text = DEBIAN["/etc/pam.d/common-auth"] + f"auth {control} {module} x=y\n"
                self.assertIn(f"common-auth names {module}", found(DEBIAN, common_auth=text))

    def test_however_a_line_is_written_it_is_understood(self) -> None:
        for line in (
            "AUTH required pam_sss.so",
            "-auth required pam_sss.so",
            "auth \\\n required \\\n pam_sss.so",
            "\tauth\trequired\tpam_sss.so",
        ):
            self.assertIn("pam_sss.so", found(DEBIAN, common_auth=line + "\n"), line)
        for line in ("auth required", "auth", "what is this"):
            self.assertTrue(found(DEBIAN, common_auth=line + "\n"), line)
        self.assertEqual(found(DEBIAN, common_auth="auth required pam_unix.so # and not pam_sss.so\n"), "")

    def test_every_way_to_include_is_followed_and_none_for_ever(self) -> None:
        for line in ("@include more", "auth include more", "auth substack more", "@include /etc/pam.d/more"):
            texts = {
                **DEBIAN,
                "/etc/pam.d/lanmail": line + "\n",
                "/etc/pam.d/more": "auth required pam_sss.so\n@include lanmail\n",
            }
            self.assertIn("/etc/pam.d/more names pam_sss.so", found(texts), line)
            texts["/etc/pam.d/more"] = "@include lanmail\n@include more\n"
            self.assertEqual(found(texts), "")
        for line in ("session include more", "password substack more"):
            self.assertEqual(found({**DEBIAN, "/etc/pam.d/lanmail": line + "\n"}), "")

    def test_what_is_missing_is_an_obstacle(self) -> None:
        self.assertIn("no file of PAM's called lanmail", found({}))
        self.assertIn("no file of PAM's called gone", found({**DEBIAN, "/etc/pam.d/lanmail": "auth include gone\n"}))

    @settings(max_examples=150, deadline=None)
    @given(st.text("auth @includepm_.so\\\n[]=#-1 ", max_size=200), st.text("passwdho: filesm[]=#\n", max_size=100))
    def test_no_text_is_a_crash(self, pam: str, nsswitch: str) -> None:
        found({**DEBIAN, "/etc/pam.d/lanmail": pam, "/etc/nsswitch.conf": nsswitch})
