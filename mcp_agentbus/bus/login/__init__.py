# SPDX-License-Identifier: Apache-2.0
"""What opens a shared server, from files of this user's, and by what the server is known."""
