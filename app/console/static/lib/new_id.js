// Ids that somebody makes up, as the server takes or refuses them.
import { useEffect, useSettled, useState } from "./ui.js";
import { get, idPart } from "./api.js";
import { t } from "./i18n.js";

/** What the server says against an id as it is typed: its form, or that there is one. `under`: the address of such things. */
export function useIdMistake(id, under) {
  const settled = useSettled(id);
  const [found, setFound] = useState(null);
  useEffect(() => {
    setFound(null);
    if (!settled) return undefined;
    let left = false;
    get(`${under}/${idPart(settled)}`).then(
      () => !left && setFound(t("idTaken")),
      (error) => !left && error.status === 422 && setFound(error.errors[0]?.reason ?? error.message),
    );
    return () => {
      left = true;
    };
  }, [settled, under]);
  return settled === id ? found : null;
}
