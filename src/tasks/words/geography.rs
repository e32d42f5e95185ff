//! Capitals of countries, where both are one word.

/// (capital, country).
#[rustfmt::skip]
pub const CAPITALS: [(&str, &str); 96] = [
    ("Abuja", "Nigeria"), ("Accra", "Ghana"), ("Algiers", "Algeria"), ("Amman", "Jordan"), ("Ankara", "Turkey"),
    ("Antananarivo", "Madagascar"), ("Ashgabat", "Turkmenistan"), ("Asmara", "Eritrea"), ("Astana", "Kazakhstan"),
    ("Asuncion", "Paraguay"), ("Athens", "Greece"), ("Baghdad", "Iraq"), ("Baku", "Azerbaijan"), ("Bamako", "Mali"),
    ("Bangkok", "Thailand"), ("Beijing", "China"), ("Beirut", "Lebanon"), ("Belgrade", "Serbia"),
    ("Belmopan", "Belize"), ("Berlin", "Germany"), ("Bern", "Switzerland"), ("Bishkek", "Kyrgyzstan"),
    ("Bogota", "Colombia"), ("Brasilia", "Brazil"), ("Bratislava", "Slovakia"), ("Bridgetown", "Barbados"),
    ("Brussels", "Belgium"), ("Bucharest", "Romania"), ("Budapest", "Hungary"), ("Cairo", "Egypt"),
    ("Canberra", "Australia"), ("Caracas", "Venezuela"), ("Conakry", "Guinea"), ("Copenhagen", "Denmark"),
    ("Dakar", "Senegal"), ("Damascus", "Syria"), ("Dhaka", "Bangladesh"), ("Dodoma", "Tanzania"), ("Doha", "Qatar"),
    ("Dublin", "Ireland"), ("Dushanbe", "Tajikistan"), ("Gaborone", "Botswana"), ("Hanoi", "Vietnam"),
    ("Harare", "Zimbabwe"), ("Havana", "Cuba"), ("Helsinki", "Finland"), ("Islamabad", "Pakistan"),
    ("Jakarta", "Indonesia"), ("Kabul", "Afghanistan"), ("Kampala", "Uganda"), ("Kathmandu", "Nepal"),
    ("Khartoum", "Sudan"), ("Kigali", "Rwanda"), ("Kingston", "Jamaica"), ("Kyiv", "Ukraine"),
    ("Libreville", "Gabon"), ("Lilongwe", "Malawi"), ("Lima", "Peru"), ("Lisbon", "Portugal"), ("Luanda", "Angola"),
    ("Lusaka", "Zambia"), ("Madrid", "Spain"), ("Managua", "Nicaragua"), ("Maputo", "Mozambique"),
    ("Minsk", "Belarus"), ("Mogadishu", "Somalia"), ("Monrovia", "Liberia"), ("Montevideo", "Uruguay"),
    ("Moscow", "Russia"), ("Muscat", "Oman"), ("Nairobi", "Kenya"), ("Niamey", "Niger"), ("Nicosia", "Cyprus"),
    ("Oslo", "Norway"), ("Ottawa", "Canada"), ("Paris", "France"), ("Prague", "Czechia"), ("Quito", "Ecuador"),
    ("Rabat", "Morocco"), ("Reykjavik", "Iceland"), ("Riga", "Latvia"), ("Rome", "Italy"), ("Santiago", "Chile"),
    ("Sofia", "Bulgaria"), ("Stockholm", "Sweden"), ("Tallinn", "Estonia"), ("Tashkent", "Uzbekistan"),
    ("Tehran", "Iran"), ("Tirana", "Albania"), ("Tokyo", "Japan"), ("Tunis", "Tunisia"), ("Vienna", "Austria"),
    ("Vilnius", "Lithuania"), ("Warsaw", "Poland"), ("Yerevan", "Armenia"), ("Zagreb", "Croatia"),
];
