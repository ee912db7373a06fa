# SPDX-License-Identifier: Apache-2.0
"""Who may use a shared server: accounts, the invitations by which they join, the server's word."""
