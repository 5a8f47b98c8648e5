CREATE TABLE "credit_history__500127d0" (
  "dob_ssn" TEXT NOT NULL, -- key string
  "tl_event_us" INTEGER,
  "tl_known_us" INTEGER,
  "tl_valid_until_us" INTEGER,
  "tl_write_us" INTEGER NOT NULL,
  "tl_deleted" INTEGER NOT NULL,
  "bankruptcies" INTEGER, -- feature bigint
  "credit_card_due" INTEGER, -- feature bigint
  "hard_pulls" INTEGER, -- feature bigint
  "missed_payments_1y" INTEGER, -- feature bigint
  "missed_payments_2y" INTEGER, -- feature bigint
  "missed_payments_6m" INTEGER, -- feature bigint
  "mortgage_due" INTEGER, -- feature bigint
  "student_loan_due" INTEGER, -- feature bigint
  "vehicle_loan_due" INTEGER, -- feature bigint
  "tl_state" BLOB,
  PRIMARY KEY ("dob_ssn")
) STRICT;
