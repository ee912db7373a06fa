# SPDX-License-Identifier: Apache-2.0
"""What became of all tasks of this user, also of those that the bus no longer keeps."""
