# SPDX-License-Identifier: Apache-2.0
"""What opens a server: a token, a password, a key or a JWT, each from a file of this user's."""
