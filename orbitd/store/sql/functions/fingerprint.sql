-- The group of a failure, such as g5f2c1a90: the same for failures of one pipeline whose cause and error differ only in what
-- changes from run to run. Blurred are quoted texts, words with a slash (paths, addresses), UUIDs, long hexadecimal words, words
-- with a digit, and lists of those. It rather puts two failures into one group than one failure into two.
-- The quotes go first, because what is in them may look like anything; one that a cut left open reaches to the end.
CREATE OR REPLACE FUNCTION orbit.fingerprint(p_pipeline text, p_cause text, p_error text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    v_text text := coalesce(p_error, '');
BEGIN
    v_text := regexp_replace(v_text, '"([^"\\]|\\.)*("|$)', '~', 'g');
    v_text := regexp_replace(v_text, '`[^`]*(`|$)', '~', 'g');
    v_text := regexp_replace(v_text, '(?<!\w)''([^''\\]|\\.)*(''|$)(?!\w)', '~', 'g');
    v_text := regexp_replace(v_text, '\S*[/\\]\S*', '/', 'g');
    v_text := regexp_replace(v_text, '[[:xdigit:]]{8}-([[:xdigit:]]{4}-){3}[[:xdigit:]]{12}', '#', 'g');
    v_text := regexp_replace(v_text, '\y[[:xdigit:]]{8,}\y', '#', 'g');
    v_text := regexp_replace(v_text, '\w*\d\w*', '#', 'g');
    v_text := regexp_replace(v_text, '\s+', ' ', 'g');
    v_text := regexp_replace(v_text, '[-+]?#([-+.,:; ]{1,3}#)*', '#', 'g');
    v_text := regexp_replace(v_text, '~(, ?~)+', '~', 'g');
    v_text := concat_ws(E'\n', p_pipeline, p_cause, left(v_text, 300));
    RETURN 'g' || left(encode(sha256(convert_to(v_text, 'UTF8')), 'hex'), 8);
END
$$;
