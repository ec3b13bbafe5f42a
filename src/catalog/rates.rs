//! Rates with tiers, dates, daily windows and service tiers.
