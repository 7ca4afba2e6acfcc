BEGIN IMMEDIATE;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
  INSERT INTO movement (step, account, amount)
  SELECT (SELECT coalesce(max(step), 0) + 1 FROM movement), i * 31 % 2000 + 1, i * 17 % 201 - 100 FROM n;
UPDATE account SET balance = 1000 +
  (SELECT coalesce(sum(amount), 0) FROM movement WHERE movement.account = account.id);
COMMIT;
SELECT 'step', max(step), sum(amount), (SELECT sum(balance) FROM account) FROM movement;
