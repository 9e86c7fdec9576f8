# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Networks in integers or half precision, verified, with a health reference of their own."""
