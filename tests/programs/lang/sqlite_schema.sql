PRAGMA journal_mode = WAL;
CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL);
CREATE TABLE movement (id INTEGER PRIMARY KEY, step INTEGER, account INTEGER, amount INTEGER);
CREATE INDEX movement_by_account ON movement (account, step);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
  INSERT INTO account SELECT i, printf('owner %05d', i * 7919 % 2000), 1000 FROM n;
SELECT 'ready';
