"""The names that feeds give to the columns of a product, by role; the likelier first."""

from __future__ import annotations

import re
import unicodedata

# In lower case, letters and digits alone, without accents: `plain_name` of the column.
NAMES: dict[str, tuple[str, ...]] = {
    role: tuple(names.split())
    for role, names in {
        "product_id": """
            productid productsku sku productcode productnumber productno productref productreference productkey prodid
            pid itemid itemnumber itemno itemcode itemsku articleid articlenumber articleno articlecode artikelnummer
            artikelnr artikelid artikelcode artnr artno produktid produktnummer produktnr styleid stylecode stylenumber
            modelcode spu goodsid offerid entityid handle asin reference referencia referenz riferimento ref id uniqid
            codigo codice code gtin ean ean13 upc barcode mpn product item article artikel produkt
        """,
        "image": """
            imageurl imagelink imageuri imagesrc imagepath imagefile imagefilename imagename image images imageurls
            imagelinks imagepaths mainimage mainimageurl primaryimage primaryimageurl baseimage featuredimage heroimage
            largeimage productimage productimageurl productimages defaultimage picture pictureurl picturelink pictures
            photo photourl photopath photos img imgurl imgsrc imgpath imgs bild bildurl bildlink bildpfad bilder
            produktbild foto fotos fotourl afbeelding imagen imagenes immagine imagem bildname filename filepath file
            path
        """,
        "name": """
            productname producttitle productdisplayname displayname itemname itemtitle articlename name title
            produktname produktbezeichnung artikelname artikelbezeichnung bezeichnung titel nom nomproduit libelle
            nombre titulo nome titolo naam namn navn label designation
        """,
        "category": """
            category categoryname categorypath categories productcategory productcategories maincategory
            primarycategory mastercategory articletype producttype producttypename itemtype subcategory
            googleproductcategory kategorie kategorien produktkategorie kategoriename warengruppe artikelgruppe
            produktgruppe productgroup productgroupname garmentgroupname department categorie categories categoria
            categorias rubrique rayon famille familia famiglia kategori kategoria class classname kind type
        """,
        "price": """
            price productprice currentprice sellingprice retailprice finalprice regularprice listprice unitprice
            grossprice pricegross priceincltax priceinclvat pricewithtax priceeur priceusd pricegbp saleprice
            discountedprice actualprice mrp preis verkaufspreis vkpreis vk bruttopreis preisbrutto endpreis uvp prix
            prixttc prixvente precio pvp prezzo preco prijs cena pris cost amount
        """,
        "in_stock": """
            instock isinstock availability available isavailable stockstatus stock stocklevel stockquantity stockqty
            stockcount instockquantity inventory inventoryquantity inventoryqty inventorylevel quantityavailable
            availablequantity onhand qty quantity bestand lagerbestand verfugbarkeit verfuegbarkeit verfugbar
            verfuegbar lager lagerstatus disponibilite disponible enstock disponibilidad existencias disponibilita
            giacenza voorraad estoque saldo
        """,
        "currency": "currency currencycode pricecurrency isocurrency wahrung waehrung devise moneda valuta moeda",
        "brand": "brand brandname vendor manufacturer marke hersteller marque fabricant merk marca merke varumarke",
        "group": """
            itemgroupid groupid productgroupid variantgroup variantgroupid parentsku parentid parentproductid
            parentproduct mastersku masterid masterproductid
        """,
        "box": "box productbox bbox boundingbox cropbox crop roi",
    }.items()
}
# A word of a longer name that tells the role too: "price EUR", "Kategorie (Shop)".
WORDS: dict[str, frozenset[str]] = {
    role: frozenset(words.split())
    for role, words in {
        "product_id": "",
        "image": "image images picture pictures photo photos img bild bilder foto fotos",
        "name": "",
        "category": "category categories kategorie categorie categoria",
        "price": "price preis prix precio prezzo prijs",
        "in_stock": "stock availability inventory bestand",
        "currency": "currency",
        "brand": "brand",
        "group": "",
        "box": "bbox",
    }.items()
}
# Words of an image column that is no picture of the product by itself, or the same one smaller.
NOT_THE_PRODUCT = frozenset(
    [
        "thumb",
        "thumbnail",
        "small",
        "mini",
        "swatch",
        "icon",
        "logo",
        "brand",
        "label",
        "alt",
        "preview",
        "vendor",
        "video",
    ]
)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def plain_name(name: str) -> str:
    """The name in lower case, of letters and digits alone, without accents."""
    return "".join(words_of(name))


def words_of(name: str) -> list[str]:
    """The words of a name in lower case, without accents: `imageURL_2` has image, url and 2."""
    folded = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    return _WORD.findall(_HUMP.sub(" ", folded).lower())
